# SPDX-License-Identifier: Apache-2.0
"""Who meets what: the books of missions must balance."""

import numpy as np
from absl.testing import absltest, parameterized

from jaxdl.federated import prototypes


def schedule(labels, seed=0, **options):
  return prototypes.mission_schedule(
    np.random.default_rng(seed), labels, **options
  )


class MissionsTest(parameterized.TestCase):
  @parameterized.parameters(0, 1, 2)
  def test_every_example_is_used_once(self, seed):
    labels = np.repeat(np.arange(100), 15)
    plan = schedule(labels, seed, num_clients=5, classes_per_mission=5, shots=3)
    used = plan.ids[plan.mask]
    self.assertCountEqual(used.tolist(), range(1500))
    # 75 examples a mission at most.
    self.assertGreaterEqual(len(plan.ids), 20)
    self.assertTrue((plan.mask.sum(axis=(1, 2, 3)) <= 75).all())
    # As many of a class as were drawn of it, under its label.
    of_slot = np.broadcast_to(plan.classes[..., None], plan.ids.shape)
    np.testing.assert_array_equal(labels[used], of_slot[plan.mask])
    # A client meets a class at most once per mission.
    for met in plan.classes.reshape(-1, 5):
      met = met[met >= 0]
      self.assertLen(set(met.tolist()), len(met))
    self.assertTrue(plan.mask.any(axis=(1, 2, 3)).all())

  def test_uneven_classes_and_the_end(self):
    labels = np.array([0, 0, 0, 0, 0, 1])
    plan = schedule(
      labels,
      num_clients=2,
      classes_per_mission=2,
      shots=2,
      num_missions=9,
    )
    self.assertEqual(plan.ids.shape, (9, 2, 2, 2))
    self.assertCountEqual(plan.ids[plan.mask].tolist(), range(6))
    self.assertFalse(plan.mask[3:].any())
    self.assertTrue((plan.classes[3:] == -1).all())
    # What is padded can be seen: no class, or fewer examples than shots.
    number = plan.mask.sum(axis=-1)
    np.testing.assert_array_equal(number > 0, plan.classes >= 0)
    self.assertEqual(plan.classes.max(), 1)
    self.assertEqual(number[plan.classes == 1].tolist(), [1])
    self.assertFalse(plan.ids[~plan.mask].any())

  def test_stopped_early(self):
    plan = schedule(
      np.repeat(np.arange(9), 4),
      num_clients=1,
      classes_per_mission=2,
      shots=2,
      num_missions=2,
    )
    self.assertEqual(plan.mask.sum(), 8)

  def test_with_replacement_examples_come_again(self):
    plan = schedule(
      np.repeat(np.arange(3), 4),
      num_clients=2,
      classes_per_mission=2,
      shots=3,
      num_missions=10,
      with_replacement=True,
    )
    self.assertTrue(plan.mask.all())
    used = plan.ids.reshape(-1, 3)
    for row in used:
      self.assertLen(set(row.tolist()), 3)
    self.assertGreater(np.bincount(used.ravel()).min(), 1)

  def test_every_class_once(self):
    labels = np.repeat(np.arange(7), 5)
    plan = prototypes.class_schedule(
      np.random.default_rng(0), labels, classes_per_mission=3, shots=4
    )
    self.assertEqual(plan.ids.shape, (3, 1, 3, 4))
    met = plan.classes[plan.classes >= 0]
    self.assertCountEqual(met.tolist(), range(7))
    self.assertNotEqual(met.tolist(), list(range(7)))
    self.assertEqual(plan.mask.sum(), 7 * 4)
    self.assertLen(set(plan.ids[plan.mask].tolist()), 28)
    longer = prototypes.PROTOCOLS.make(
      'cil(classes=7, shots=2)', np.random.default_rng(0), labels, 4
    )
    self.assertEqual(longer.mask.sum(axis=(1, 2, 3)).tolist(), [14, 0, 0, 0])

  def test_same_generator_same_missions(self):
    labels = np.repeat(np.arange(6), 5)
    a, b, c = (
      schedule(labels, s, num_clients=2, classes_per_mission=2, shots=2)
      for s in (0, 0, 1)
    )
    np.testing.assert_array_equal(a.ids, b.ids)
    self.assertFalse(
      a.ids.shape == c.ids.shape and np.array_equal(a.ids, c.ids)
    )

  def test_bad_input(self):
    options = {'num_clients': 1, 'classes_per_mission': 1, 'shots': 1}
    with self.assertRaisesRegex(ValueError, 'num_missions=None .*never ends'):
      schedule(np.arange(3), with_replacement=True, **options)
    with self.assertRaisesRegex(ValueError, 'shots must be at least 1; got 0'):
      schedule(np.arange(3), **(options | {'shots': 0}))
    with self.assertRaisesRegex(ValueError, 'labels must be integers'):
      schedule(np.zeros(0, int), **options)
    few = 'classes_per_mission=4 exceeds the 3 classes of the pool'
    with self.assertRaisesRegex(ValueError, few):
      schedule(np.arange(3), **(options | {'classes_per_mission': 4}))
    with self.assertRaisesRegex(ValueError, few):
      prototypes.class_schedule(
        np.random.default_rng(0), np.arange(3), classes_per_mission=4, shots=1
      )
    three = options | {'shots': 3}
    labels = np.array([0, 0, 1])
    with self.assertRaisesRegex(
      ValueError, 'class 0 has 2 .*, shots=3 are nee'
    ):
      schedule(labels, **three)
    with self.assertRaisesRegex(
      ValueError, 'class 1 has 1 .*, shots=2 are nee'
    ):
      schedule(
        labels,
        with_replacement=True,
        num_missions=1,
        **(options | {'shots': 2}),
      )
    with self.assertRaisesRegex(
      ValueError, 'class 1 has 1 examples, shots=2 are needed'
    ):
      prototypes.class_schedule(
        np.random.default_rng(0), np.array([0, 0, 1]), shots=2
      )


if __name__ == '__main__':
  absltest.main()
