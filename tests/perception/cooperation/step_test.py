# SPDX-License-Identifier: Apache-2.0
"""Frames of cooperation, scenes, training."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl.testing import absltest, parameterized

from jaxdl.core import types
from jaxdl.perception import cooperation as coop
from jaxdl.perception.cooperation import wire, worlds

KEY = jax.random.key(0)
SPEC = {'grid': 8, 'frames': 3, 'agents': 4, 'vehicles': (1, 4)}


# Untrained, it asks for a few channels; with the default bias for all.
PARTIAL = 'coopertrim(bias=0.0)'


@functools.cache
def setting(selector=PARTIAL, poses='identity', **options):
  world = worlds.roads(**SPEC, poses=poses)
  model = coop.make_model(
    world, network='conv(channels=4)', selector=selector, **options
  )
  scene = jax.jit(world.draw)(KEY)
  params = jax.jit(model.init)(jax.random.key(1))
  return model, params, scene


@functools.cache
def program(model, **options):
  return jax.jit(
    lambda params, scene, key: coop.cooperate(
      model, params, scene, key=key, **options
    )
  )


def go(selector=PARTIAL, poses='identity', scene=None, run=None, **options):
  model, params, own = setting(selector, poses, **options)
  run = run or {}
  return program(model, **run)(params, scene or own, KEY)


class StepTest(parameterized.TestCase):
  def test_the_ends_are_full_sharing_and_no_cooperation(self):
    full, heard = go('full')
    asked, also = go('coopertrim', run={'share': 1.0})
    np.testing.assert_allclose(asked, full, rtol=1e-5, atol=1e-6)
    self.assertEqual(heard.share.tolist(), [[1.0]] * 3)
    self.assertEqual(also.share.tolist(), [[1.0]] * 3)
    none, heard = go('none')
    self.assertEqual(heard.share.tolist(), [[0.0]] * 3)
    _, _, scene = setting()
    alone = scene._replace(there=jnp.arange(4) < 1)
    lonely, heard = go('full', scene=alone)
    np.testing.assert_allclose(lonely, none, rtol=1e-5, atol=1e-6)
    # Nobody else: nothing is sent.
    self.assertEqual(heard.share.tolist(), [[0.0]] * 3)
    self.assertGreater(float(jnp.abs(full - none).max()), 1e-3)

  def test_the_first_frame_of_a_scene_is_full_and_equal_frames_are_calm(self):
    _, heard = go()
    self.assertEqual(float(heard.share[0, 0]), 1.0)
    self.assertLess(float(heard.share[1:].max()), 1.0)
    self.assertTrue(set(np.unique(heard.mask[1:])) <= {0.0, 1.0})
    # Training begins open.
    _, heard = go('coopertrim')
    np.testing.assert_array_equal(heard.share, 1.0)
    _, heard = go('random(share=0.25)')
    self.assertEqual(heard.share.tolist(), [[0.25]] * 3)

  def test_collaborators_have_no_order(self):
    _, _, scene = setting()
    order = np.array([0, 3, 1, 2])
    moved = scene._replace(
      inputs=scene.inputs[:, order],
      poses=scene.poses[:, order],
      there=scene.there[order],
    )
    np.testing.assert_allclose(
      go(scene=moved)[0], go()[0], rtol=1e-4, atol=1e-5
    )

  def test_padding_changes_nothing(self):
    _, _, scene = setting()
    there = jnp.array([True, True, False, False])
    few = scene._replace(there=there)
    loud = few._replace(inputs=few.inputs.at[:, 2:].set(9.0))
    for x, y in zip(go(scene=few), go(scene=loud), strict=True):
      for a, b in zip(jax.tree.leaves(x), jax.tree.leaves(y), strict=True):
        np.testing.assert_array_equal(a, b)

  def test_where_all_see_all_nothing_is_gained(self):
    world = worlds.roads(**SPEC | {'radius': 20.0})
    scene = jax.jit(world.draw)(KEY)
    np.testing.assert_allclose(
      go('full', scene=scene)[0], go('none', scene=scene)[0], atol=1e-5
    )

  def test_full_sharing_sees_no_more_than_all_together(self):
    _, _, scene = setting('full')
    union = np.asarray(scene.inputs[..., 2]).max(axis=1) > 0
    # Four convolutions of 3 x 3: what lies farther away cannot matter.
    hidden = np.asarray(scene.inputs).copy()
    hidden[np.broadcast_to(~union[:, None], hidden.shape[:-1])] = 0.0
    np.testing.assert_array_equal(hidden, scene.inputs)
    both, _ = go('full')
    changed = scene._replace(dynamic=1 - scene.dynamic)
    np.testing.assert_array_equal(go('full', scene=changed)[0], both)

  def test_a_turned_place_is_seen_as_a_turned_one(self):
    model, params, scene = setting('full', 'quarter')
    turn = jnp.array([0.0, 0.0, np.pi / 2])
    # All frames turned: nothing changes between any two of them.
    x, y, yaw = jnp.moveaxis(scene.poses, -1, 0)
    turned = scene._replace(poses=jnp.stack([-y, x, yaw + turn[2]], -1))
    got = program(model)(params, turned, KEY)[0]
    want = program(model)(params, scene, KEY)[0]
    np.testing.assert_allclose(got, want, atol=1e-5)

  def test_carries_of_other_scenes_are_refused(self):
    model, params, scene = setting()
    carry = coop.init_carry(model)
    frame = coop.Frame(
      jnp.ones((4, 3, 8, 8)), scene.poses[0], scene.there, 0, jnp.ones(4)
    )
    with self.assertRaisesRegex(ValueError, 'reset the carry at scene start'):
      coop.coopertrim_step(model, params, carry, frame, key=KEY)
    absent = scene._replace(there=jnp.arange(4) > 0)
    broken = scene._replace(inputs=scene.inputs.at[0, 0, 0, 0, 0].set(jnp.nan))
    for wrong, options, message in (
      (scene, {'egos': 5}, 'egos=5 exceeds the 4 agents'),
      (scene, {'links': jnp.ones((2, 4, 4))}, r'links must have shape \(3, 4'),
      (absent, {}, 'scene.there leaves out agent 0, the ego'),
      (broken, {}, 'scene.inputs must be finite; 1 of'),
    ):
      with self.assertRaisesRegex(ValueError, message):
        coop.cooperate(model, params, wrong, key=KEY, **options)

  @parameterized.parameters(
    ({'fusion': 'windowed(window=3)'}, 'window=3 does not divide'),
    ({'network': 'conv(stride=3)'}, 'stride=3 must be a power of two'),
    ({'network': 'conv(kernel=2)'}, 'kernel must be odd'),
    ({'conditions': coop.make_conditions(('pose',))}, 'noise pose has no'),
    ({'fill': 'mean'}, "fill='mean'"),
  )
  def test_parts_must_fit(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      coop.make_model(worlds.roads(**SPEC), **options)

  def test_what_goes_wrong_changes_what_is_fused(self):
    clean, _ = go('full', 'continuous')
    for spec in ('pose(2.0)', 'delay(1)', 'loss(0.5)'):
      conditions = coop.make_conditions((spec,))
      noisy, _ = go('full', 'continuous', conditions=conditions)
      self.assertGreater(float(jnp.abs(noisy - clean).max()), 1e-3, spec)
    still = coop.make_conditions(('pose(0.0)', 'delay(0)', 'loss(0.0)'))
    same, _ = go('full', 'continuous', conditions=still)
    np.testing.assert_array_equal(same, clean)
    lost = coop.make_conditions(('loss(1.0)',))
    np.testing.assert_allclose(  # Maps are not negative: zeros add nothing.
      go('full', conditions=lost)[0], go('none')[0], atol=1e-5
    )

  def test_agents_may_be_split_over_devices(self):
    model, params, scene = setting('coopertrim', fusion='attention')
    features = model.encoder.apply(params['encoder'], scene.inputs[0])
    carry = coop.init_carry(model)._replace(
      previous=0.5 * features[0], has_previous=jnp.ones((), bool)
    )

    def step(features, poses, there, links, **options):
      frame = coop.Frame(features, poses, there, 0, links)
      after, heard = coop.coopertrim_step(
        model, params, carry, frame, key=KEY, offset=-0.1, **options
      )
      return after.previous, heard.share, heard.asked

    args = (features, scene.poses[0], scene.there, jnp.ones(4))
    want = jax.jit(step)(*args)
    mesh = jax.make_mesh(
      (4,), ('agents',), axis_types=(jax.sharding.AxisType.Auto,),
      devices=jax.devices()[:4],
    )  # fmt: skip
    split = jax.shard_map(
      functools.partial(step, axis_name='agents'),
      mesh=mesh,
      in_specs=jax.P('agents'),
      out_specs=jax.P(),
      check_vma=False,
    )
    for got, x in zip(jax.jit(split)(*args), want, strict=True):
      np.testing.assert_allclose(got, x, rtol=1e-5, atol=1e-6)

  @parameterized.parameters(
    ('where2comm(threshold=0.05)', 'identity', (), 'none'),
    ('full', 'continuous', ('pose(2.0)', 'loss(0.5)'), 'none'),
    ('full', 'identity', (), 'qsgd'),
  )
  def test_devices_change_nothing_that_is_drawn(
    self, selector, poses, noises, codec
  ):
    model, params, scene = setting(
      selector,
      poses,
      fusion='mean',
      conditions=coop.make_conditions(noises),
      codec=wire.make_codec(codec),
    )
    features = model.encoder.apply(params['encoder'], scene.inputs[0])
    carry = coop.init_carry(model)._replace(has_previous=jnp.ones((), bool))

    def step(features, poses, there, links, axis_name=None):
      # The receiver is on the last device.
      frame = coop.Frame(features, poses, there, 3, links)
      after, heard = coop.coopertrim_step(
        model, params, carry, frame, key=KEY, axis_name=axis_name
      )
      return after.previous, heard.share

    args = (features, scene.poses[0], scene.there, jnp.ones(4))
    cut = [x.reshape(2, 2, *x.shape[1:]) for x in args]
    split = jax.vmap(functools.partial(step, axis_name='a'), axis_name='a')
    for got, want in zip(split(*cut), step(*args), strict=True):
      for own in got:
        np.testing.assert_allclose(own, want, rtol=1e-5, atol=1e-6)

  def test_scenes_may_be_split_over_devices(self):
    model, params, _ = setting()
    world = worlds.roads(**SPEC)
    scenes = jax.jit(lambda k: worlds.draw_scenes(world, k, 4))(KEY)
    keys = jax.random.split(KEY, 4)
    run = jax.jit(
      jax.vmap(lambda s, k: coop.cooperate(model, params, s, key=k)[0])
    )
    mesh = jax.make_mesh(
      (2,), ('scenes',), axis_types=(jax.sharding.AxisType.Auto,),
      devices=jax.devices()[:2],
    )  # fmt: skip
    place = jax.NamedSharding(mesh, jax.P('scenes'))
    np.testing.assert_allclose(
      run(*jax.device_put((scenes, keys), place)), run(scenes, keys), atol=1e-6
    )


class NetworkOfAgentsTest(parameterized.TestCase):
  def test_each_agent_hears_its_neighbors_alone(self):
    model, params, scene = setting('full')
    ring = wire.lossy_links('ring', 4)
    links = jnp.stack([ring(t, KEY) for t in range(3)])
    run = jax.jit(
      lambda scene, links: coop.cooperate(
        model, params, scene, key=KEY, egos=4, links=links
      )
    )
    logits, heard = run(scene, links)
    self.assertEqual(heard.senders.tolist(), [[2] * 4] * 3)
    # Agent 2 is no neighbor of agent 0.
    other = scene._replace(inputs=scene.inputs.at[:, 2].set(0.0))
    changed, _ = run(other, links)
    np.testing.assert_array_equal(changed[:, 0], logits[:, 0])
    self.assertGreater(float(jnp.abs(changed[:, 1] - logits[:, 1]).max()), 1e-4)
    alone, heard = run(scene, jnp.zeros((3, 4, 4)))
    self.assertEqual(heard.senders.tolist(), [[0] * 4] * 3)
    none = program(setting('none')[0])(params, scene, KEY)[0]
    np.testing.assert_allclose(alone[:, :1], none, atol=1e-5)

  def test_messages_are_what_the_compressor_makes_of_channels(self):
    model, params, scene = setting('full', codec=wire.make_codec('top_k(0.25)'))
    features = model.encoder.apply(params['encoder'], scene.inputs[0])
    frame = coop.Frame(features, scene.poses[0], scene.there, 0, jnp.ones(4))
    _, heard = coop.coopertrim_step(
      model, params, coop.init_carry(model), frame, key=KEY, keep_sent=True
    )
    flat = np.asarray(features).reshape(4, 4, -1)
    kept = np.sort(flat, axis=2)[:, :, -16:].sum(axis=2)
    np.testing.assert_allclose(heard.sent.sum((2, 3)), kept, rtol=1e-5)
    self.assertLessEqual(int((heard.sent != 0).sum((2, 3)).max()), 16)


class TrainingTest(parameterized.TestCase):
  def cohort(self, world, key, count=4):
    scenes = worlds.draw_scenes(world, key, count)
    return types.Cohort(
      client_ids=jnp.arange(1),
      data=jax.tree.map(lambda x: x[None], scenes),
      mask=jnp.ones(1, bool),
      weights=jnp.ones(1),
    )

  def test_full_frames_come_first_and_then_what_is_selected(self):
    world = worlds.roads(**SPEC)
    model, _, _ = setting()
    algorithm = coop.cooperative_training(
      model,
      optimizer=optax.adam(3e-3),
      schedule=coop.Schedule(warm_up=2, explore=0.0, steps=4),
    )
    state = algorithm.init(KEY)
    step = jax.jit(algorithm.step)
    percents, losses = [], []
    for t in range(4):
      cohort = self.cohort(world, jax.random.key(t))
      state, metrics = step(state, cohort, key=jax.random.key(t))
      percents.append(float(metrics['percent']))
      losses.append(float(metrics['loss']))
    self.assertEqual(percents[:2], [100.0, 100.0])
    self.assertLess(max(percents[2:]), 100.0)
    self.assertTrue(np.isfinite(losses).all())

  @parameterized.parameters('straight_through', 'none')
  def test_the_selector_learns_only_if_gradients_pass(self, grad):
    model, params, scene = setting(f'coopertrim(grad={grad})')
    task = coop.cooperative_task(
      model, explore=0.0, penalty='linear(weight=0.01)'
    )
    batch = jax.tree.map(lambda x: x[None], scene)
    found = jax.jit(jax.grad(task.loss))(params, batch, key=KEY)
    sizes = [
      float(jnp.abs(x).max()) for x in jax.tree.leaves(found['selector'])
    ]
    if grad == 'none':
      self.assertEqual(max(sizes), 0.0)
    else:
      self.assertGreater(float(found['selector']['theta']) ** 2, 0.0)
      self.assertGreater(max(sizes), 0.0)
    self.assertGreater(
      max(float(jnp.abs(x).max()) for x in jax.tree.leaves(found['encoder'])),
      0.0,
    )

  def test_wrong_schedules_are_refused(self):
    model, _, _ = setting()
    make = functools.partial(coop.cooperative_training, model)
    sgd = optax.sgd(0.1)
    for call, message in (
      (
        lambda: make(optimizer=sgd, schedule=coop.Schedule(explore=1.5)),
        r'explore must lie in \[0.0, 1.0\]; got 1.5',
      ),
      (
        lambda: make(optimizer=sgd, schedule=coop.Schedule(warm_up=-1)),
        'warm_up must be at least 0',
      ),
      (
        lambda: make(optimizer=sgd, penalty='linear(weight=-0.1)'),
        'weight must lie in',
      ),
      (
        lambda: make(optimizer=sgd, loss='segmentation(vehicle=-1)'),
        'vehicle must lie in',
      ),
    ):
      with self.assertRaisesRegex(ValueError, message):
        call()
    with self.assertRaisesRegex(TypeError, 'optimizer must be an optax'):
      make(optimizer=0.1)


if __name__ == '__main__':
  absltest.main()
