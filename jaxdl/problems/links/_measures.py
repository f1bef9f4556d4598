# SPDX-License-Identifier: Apache-2.0
"""How well a predictor tells tested links from others."""

from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import types
from jaxdl.graphs import links as lib


def measurer(
  encoder: Any,
  predictor: Any,
  *,
  hits: int,
  own_negatives: int,
  batch_size: int,
) -> Callable[..., dict[str, chex.Array]]:
  """Makes what measures one model on the tests of one seed.

  Args:
    encoder: see `graphs.links.make_encoder`.
    predictor: see `graphs.links.make_predictor`.
    hits: K of Hits@K.
    own_negatives: negatives of each link, if it has its own, else 0.
    batch_size: pairs at a time; 0 for all.

  Returns:
    `measure(params, known, later, x, tested, counts)`: figures of the
    validation, with the links `known`, and of the test, with those known
    `later`; the other arguments are as in `Links`, of one seed.
  """
  encode, predict = lib.make_encoder(encoder), lib.make_predictor(predictor)
  if isinstance(predictor, str) and (
    lib.PREDICTORS.part(predictor).name in lib.FIXED
  ):
    # Nobody looks at vectors.
    encode = types.Network(
      lambda *_: {}, lambda params, graph, x: jnp.zeros((len(x), 1))
    )

  def measure(params, known, later, x, tested, counts):
    out = {}
    for part, links in (('validation', known), ('test', later)):
      names = (part, f'{part}_negatives')
      pairs = jnp.concatenate([tested[name] for name in names])
      scores = lib.link_scores(
        encode,
        predict,
        params,
        links,
        x,
        pairs,
        batch_size=batch_size,
        key=jax.random.key(0),
      )
      m = tested[part].shape[0]
      up, down = scores[:m], scores[m:]
      there, others = (
        jnp.arange(tested[name].shape[0]) < counts[name] for name in names
      )
      masks = {'positive_mask': there, 'negative_mask': others}
      found = {
        'auc': lib.roc_auc(up, down, **masks),
        'hits': lib.hits_at_k(up, down, hits, **masks),
      }
      if own_negatives:
        each = down.reshape(m, own_negatives)
        found['mrr'] = lib.mean_reciprocal_rank(up, each, mask=there)
      prefix = '' if part == 'test' else 'validation_'
      out |= {f'{prefix}{name}': value for name, value in found.items()}
    return out

  return measure
