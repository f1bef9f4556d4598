# SPDX-License-Identifier: Apache-2.0
"""Images on which phrases name what is looked for, and detectors that learn it.

- `scenes` makes the problem, `with_detector` gives its images to another
  network.
- `pretrained` trains the dense detector of a problem or reads one
  (`PRETRAININGS`), `with_start` puts it where `variant` begins: one of
  `VARIANTS`, tuned as it is or with experts; `check_variant` says beforehand
  whether it can be made.
- `pretraining_rows` and `picture_rows` tell what was learned and found on
  `test_pictures`, `draw_experts` draws the experts.

    problem = scenes('shapes(image_size=32)', network='grounding(width=32)')
    params, _ = pretrained(problem, 'adam(steps=500)')
    problem = with_start(problem, params)
    own, make = variant(problem, 'moe(8, top_k=2)', optimizer=optax.adam(3e-4))
    experiment.train(make, own, num_rounds=500, key=jax.random.key(0))
"""

from jaxdl.problems._detectors import (
  LAYERS,
  PRETRAININGS,
  TRAINABLE,
  VARIANTS,
  check_trainable,
  check_variant,
  pretrained,
  pretraining_rows,
  variant,
)
from jaxdl.problems._scene_rows import (
  draw_experts,
  picture_rows,
  test_pictures,
)
from jaxdl.problems._scenes import (
  SceneTest,
  scenes,
  with_detector,
  with_start,
)

__all__ = [
  'LAYERS',
  'PRETRAININGS',
  'SceneTest',
  'TRAINABLE',
  'VARIANTS',
  'check_trainable',
  'check_variant',
  'draw_experts',
  'picture_rows',
  'pretrained',
  'pretraining_rows',
  'scenes',
  'test_pictures',
  'variant',
  'with_detector',
  'with_start',
]
