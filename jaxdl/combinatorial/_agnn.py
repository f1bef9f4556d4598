# SPDX-License-Identifier: Apache-2.0
"""A graph network that keeps vectors on edges too, in rows of K neighbors.

No N x N array and no segment sums: messages are gathered and averaged over an
axis of length K.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdl.core import trees
from jaxdl.networks._layers import Dense
from jaxdl.networks._linen import BatchNorm


class Agnn(nn.Module):
  """The anisotropic graph network of dividing policies.

  With pre-activations x of nodes and w of edges, a layer is

    x_i += silu(norm(U1 x_i + mean_j sigmoid(w_ij) * U2 x_j))
    w_ij += silu(norm(P w_ij + U3 x_i + U4 x_j)),

  both from the old x and w. Normalization is over the nodes, respectively the
  edges, of the one instance. An id of -1 is no neighbor and counts nowhere.

  Attributes:
    width: d.
    depth: layers.
  """

  width: int
  depth: int

  @nn.compact
  def __call__(
    self, nodes: jax.Array, ids: jax.Array, edges: jax.Array
  ) -> tuple[jax.Array, jax.Array]:
    """Applies the network.

    Args:
      nodes: f[M, F].
      ids: i32[M, K].
      edges: f[M, K, C].

    Returns:
      f[M, d] and f[M K, d], rows of edges one after another.
    """
    num_nodes, num_kept = ids.shape
    there = ids >= 0
    flat = there.reshape(-1)
    ids = jnp.maximum(ids, 0)
    gathered = ids.reshape(-1)
    kind = trees.accumulator(nodes.dtype)
    count = jnp.sum(there, axis=1, dtype=kind)[:, None]
    count = jnp.maximum(count, 1)
    edges = edges.reshape(num_nodes * num_kept, -1)
    x = jax.nn.silu(Dense(self.width, name='nodes')(nodes))
    w = jax.nn.silu(Dense(self.width, name='edges')(edges))
    for n in range(self.depth):
      # One product for the four maps of nodes.
      maps = Dense(4 * self.width, name=f'maps_{n}')(x)
      own, message, source, target = jnp.split(maps, 4, axis=-1)
      sent = jax.nn.sigmoid(w) * message[gathered]
      sent = jnp.where(flat[:, None], sent, 0)
      sent = sent.reshape(num_nodes, num_kept, self.width)
      mean = jnp.sum(sent, axis=1, dtype=kind) / count
      fresh = Dense(self.width, name=f'link_{n}')(w)
      fresh = fresh + jnp.repeat(source, num_kept, axis=0) + target[gathered]
      fresh = BatchNorm(name=f'edge_norm_{n}')(fresh, mask=flat)
      new = own + mean.astype(own.dtype)
      x = x + jax.nn.silu(BatchNorm(name=f'node_norm_{n}')(new))
      w = w + jax.nn.silu(fresh)
    return x, w
