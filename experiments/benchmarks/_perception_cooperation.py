# SPDX-License-Identifier: Apache-2.0
"""A part of the benchmark of perception: frames of cooperation."""

import jax
import jax.numpy as jnp

from experiments.benchmarks import _timing
from jaxdl.perception import cooperation as coop

# The paper's: 128 channels of 32 x 32 cells, made of 256 x 256.
NETWORK = 'conv(channels=128, num_layers=6, stride=8, residual=True)'
SMALL = 'conv(channels=16, num_layers=3, stride=4)'


def _setting(agents, quick):
  """A frame for so many agents, and the parts that look at it."""
  grid = 32 if quick else 256
  world = coop.worlds.roads(grid=grid, frames=1, agents=agents)
  model = coop.make_model(world, network=SMALL if quick else NETWORK)
  params = jax.jit(model.init)(jax.random.key(0))
  scene = jax.jit(world.draw)(jax.random.key(1))
  carry = coop.init_carry(model)._replace(has_previous=jnp.ones((), bool))
  return model, params, scene, carry


def _frame(model, params, carry, features, scene, key):
  frame = coop.Frame(
    features, scene.poses[0], scene.there, 0, jnp.ones(len(features))
  )
  after, _ = coop.coopertrim_step(model, params, carry, frame, key=key)
  return model.head.apply(params['head'], after.previous)


def cooperative_frames(*, quick: bool = False) -> list[str]:
  """Frames per second against agents, at once and one by one; the selector.

  Args:
    quick: whether sizes are small.

  Returns:
    Lines of the section.
  """
  key, rounds = jax.random.key(2), 3 if quick else 5
  lines = [
    'All agents make maps; agent 0 selects, fuses and tells. `at once` is one',
    'program, `one by one` a Python loop that encodes agent after agent.',
    '',
    '| agents | at once, frames/s | one by one, frames/s | ratio |',
    '|---|---|---|---|',
  ]
  for agents in (2, 4) if quick else (2, 4, 8, 16):
    model, params, scene, carry = _setting(agents, quick)
    encode = jax.jit(model.encoder.apply)
    inputs = scene.inputs[0]

    @jax.jit
    def whole(params, inputs, scene=scene, model=model, carry=carry):
      features = model.encoder.apply(params['encoder'], inputs)
      return _frame(model, params, carry, features, scene, key)

    @jax.jit
    def rest(params, features, scene=scene, model=model, carry=carry):
      return _frame(model, params, carry, features, scene, key)

    def loop(params=params, inputs=inputs, encode=encode, rest=rest):
      found = [encode(params['encoder'], one[None])[0] for one in inputs]
      return rest(params, jnp.stack(found))

    times = _timing.measure(
      {
        'at once': lambda w=whole, p=params, x=inputs: w(p, x),
        'one by one': loop,
      },
      rounds=rounds,
    )
    fast, slow = times.ms('at once'), times.ms('one by one')
    ratio = times.ratio('one by one', 'at once')
    lines.append(
      f'| {agents} | {1e3 / fast:.2f} | {1e3 / slow:.2f} | {ratio:.2f} |'
    )
  model, params, scene, _ = _setting(2, quick)
  maps = model.encoder.apply(params['encoder'], scene.inputs[0])
  c, h, w = model.shape
  selector = coop.channel_selector(c, h * w)
  own = selector.init(key, maps[0, :, 0, 0], maps[0])

  @jax.jit
  def select(own, now, before):
    scores, widths = coop.temporal_scores(now, before)
    found = coop.conformal_uncertainty(scores, widths)
    relevance, tau = selector.apply(own, found.values, now)
    return coop.straight_through_mask(relevance, tau)

  encode = jax.jit(model.encoder.apply)
  times = _timing.measure(
    {
      'selector': lambda: select(own, maps[0], maps[1]),
      'encoder': lambda: encode(params['encoder'], scene.inputs[0, :1]),
    },
    rounds=3 * rounds,
  )
  share = times.ratio('selector', 'encoder')
  return [
    *lines,
    '',
    f'The selector takes {times.ms("selector"):.2f} ms for {c} channels of {h} '
    f'x {w}, {100 * share:.1f} %',
    f'of the {times.ms("encoder"):.2f} ms in which one agent makes its maps.',
  ]
