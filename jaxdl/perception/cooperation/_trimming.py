# SPDX-License-Identifier: Apache-2.0
"""CooperTrim: what changed and is relevant, as much as a threshold says."""

import jax
import jax.numpy as jnp

from jaxdl.core import checks
from jaxdl.perception.cooperation import (
  _selection,
  _selector,
  _uncertainty,
)

UNCERTAINTIES = ('temporal', 'std')
CALIBRATIONS = ('none', 'window')


def coopertrim(
  channels: int,
  height: int,
  width: int,
  *,
  q: float = 50.0,
  learn_q: bool = False,
  uncertainty: str = 'temporal',
  score: str = 'mean',
  calibration: str = 'none',
  window: int = 8,
  attn_scale: bool = True,
  bias: float = 1.0,
  grad: str = 'straight_through',
  temperature: float = 0.1,
  curriculum: bool = False,
) -> _selection.Selector:
  """Asks for channels that changed and that attention finds relevant.

  Args:
    channels: C.
    height: H.
    width: W.
    q: percentile of the scores above which a channel is uncertain, in percent.
    learn_q: whether q is learned along.
    uncertainty: 'temporal' change, or 'std' over the cells of a frame.
    score: a part of `SCORES`.
    calibration: 'none', percentiles of the frame, or 'window', of the last
      frames of the scene.
    window: frames that it holds.
    attn_scale: see `channel_selector`.
    bias: see there.
    grad: 'straight_through', or 'none', which learns no quantity.
    temperature: see `straight_through_mask`.
    curriculum: whether training shrinks the share of the channels that is sent
      at least, in place of full frames now and then.

  Returns:
    The selector.

  Raises:
    ValueError: if an option is unknown or out of range.

  Source: Mukhopadhyay et al. 2026 (https://arxiv.org/abs/2602.13287).
  """
  _uncertainty.check_percent(q)
  checks.choice(uncertainty, UNCERTAINTIES, name='uncertainty')
  checks.choice(calibration, CALIBRATIONS, name='calibration')
  checks.choice(grad, _selector.GRADIENTS, name='grad')
  checks.number(temperature, name='temperature', low=0.0, open_low=True)
  _uncertainty.SCORES.check(score, name='score')
  checks.integer(window, name='window', low=1)
  checks.flag(learn_q, name='learn_q')
  checks.flag(curriculum, name='curriculum')
  windowed = calibration == 'window'
  network = _selector.channel_selector(
    channels,
    height * width,
    attn_scale=attn_scale,
    q=q if learn_q else None,
    bias=bias,
  )

  def init(key):
    like = jnp.zeros((channels, height, width))
    return network.init(key, like[:, 0, 0], like)

  def memory():
    return _uncertainty.score_window(window, channels) if windowed else ()

  def apply(
    params,
    memory,
    evidence,
    *,
    key,
    share=None,
    offset=0.0,
    at_least=None,
  ):
    del key
    # The selector learns from what it selects, not by moving features.
    own = jax.lax.stop_gradient(evidence.own)
    previous = jax.lax.stop_gradient(evidence.previous)
    if uncertainty == 'temporal':
      scores, widths = _uncertainty.scores_of(own, previous, score)
    else:
      scores, widths = _uncertainty.spread_scores(own)
    level = _selector.learned_q(params) if learn_q else q
    if windowed:
      found = _uncertainty.windowed_uncertainty(scores, widths, level, memory)
      memory = _uncertainty.push_scores(memory, scores)
    else:
      found = _uncertainty.conformal_uncertainty(scores, widths, level)
    u = found.values
    if learn_q and grad == 'straight_through':
      # Flags are hard: q learns as if they were soft.
      unit = jax.lax.stop_gradient(jnp.mean(scores)) + 1e-12
      soft = jax.nn.sigmoid((scores - found.threshold) / (temperature * unit))
      u = u + widths * (soft - jax.lax.stop_gradient(soft))
    relevance, tau = network.apply(params, u, evidence.own)
    mask = _selector.straight_through_mask(
      relevance, tau + offset, temperature=temperature, gradient=grad
    )
    if share is not None:
      mask = _selection.top_share(relevance, share)
    elif at_least is not None:
      more = _selection.top_share(jax.lax.stop_gradient(relevance), at_least)
      mask = jnp.where(more > mask, more, mask)
    return _selection.channels(mask), memory

  return _selection.Selector(
    init, memory, apply, uncertainty == 'temporal', curriculum=curriculum
  )


def fixed(
  channels: int,
  height: int,
  width: int,
  *,
  threshold: float = 0.5,
  q: float = 50.0,
) -> _selection.Selector:
  """CooperTrim with a threshold that is not learned."""
  checks.number(threshold, name='threshold', low=0.0, high=1.0)
  inner = coopertrim(channels, height, width, q=q)

  def apply(params, memory, evidence, *, key, share=None, offset=0.0):
    # As a sigmoid of θ, whatever θ has become.
    held = params | {'theta': jax.lax.stop_gradient(params['theta'])}
    off = threshold - _selector.threshold(held) + offset
    return inner.apply(held, memory, evidence, key=key, share=share, offset=off)

  return inner._replace(apply=apply)


def curriculum(
  channels: int, height: int, width: int, *, q: float = 50.0
) -> _selection.Selector:
  """CooperTrim trained with a share that shrinks."""
  return coopertrim(channels, height, width, q=q, curriculum=True)
