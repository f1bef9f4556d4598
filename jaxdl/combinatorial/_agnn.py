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


class _Layer(nn.Module):
  """One layer; everything of edges is flat, f[M K, d]."""

  @nn.compact
  def __call__(self, x, w, ids):
    num_nodes, num_kept = ids.shape
    width = x.shape[-1]
    there, target = (ids >= 0).reshape(-1), jnp.maximum(ids, 0).reshape(-1)
    kind = trees.accumulator(x.dtype)
    # One product for the four maps of nodes.
    maps = Dense(4 * width, name='maps')(x)
    own, message, start, end = jnp.split(maps, 4, axis=-1)
    sent = jax.nn.sigmoid(w) * message[target]
    sent = jnp.where(there[:, None], sent, 0)
    sent = sent.reshape(num_nodes, num_kept, width)
    count = jnp.sum(ids >= 0, axis=1, dtype=kind)[:, None]
    mean = jnp.sum(sent, axis=1, dtype=kind) / jnp.maximum(count, 1)
    new = BatchNorm(name='node_norm')(own + mean.astype(own.dtype))
    link = Dense(width, name='link')(w)
    link = link + jnp.repeat(start, num_kept, axis=0) + end[target]
    link = BatchNorm(name='edge_norm')(link, mask=there)
    return x + jax.nn.silu(new), w + jax.nn.silu(link)


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
    remat: whether gradients compute layers again instead of keeping what is
      inside of them.
  """

  width: int
  depth: int
  remat: bool = False

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
    x = jax.nn.silu(Dense(self.width, name='nodes')(nodes))
    w = edges.reshape(ids.size, -1)
    w = jax.nn.silu(Dense(self.width, name='edges')(w))
    layer = nn.remat(_Layer) if self.remat else _Layer
    for n in range(self.depth):
      x, w = layer(name=f'layer_{n}')(x, w, ids)
    return x, w
