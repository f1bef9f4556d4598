# SPDX-License-Identifier: Apache-2.0
"""Networks as pairs of pure functions, and the tasks they are trained on.

A `Network` (`jaxdl.core.types`) is `init(key, *example_inputs) -> params` and
`apply(params, *inputs, train=False, key=None) -> outputs`; `params` is a plain
nested dict of arrays. Algorithms accept any such pair: nothing outside this
folder needs to know how ours are written.

Networks, all channel-last:

- `logistic_regression`, `mlp`: any inputs [B, ...], flattened.
- `lenet`, `monna_mnist_cnn`, `fedjax_emnist_cnn`: small gray images.
- `monna_cifar_cnn`: with batch normalization and dropout.
- `resnet18`, `resnet34`: with group or batch normalization.
- `ocfl_cnn`, `fedfix_cifar_cnn`, `mip_mnist_cnn`: those of the papers on them.
- `char_lstm`: characters [B, L] to the next, after the last or after every one.
- `transformer_lm`: a causal language model on tokens [B, L], e.g. bytes, made
  of `causal_attention`.
- `frl_lenet`, `conv8`: without biases.
- `supermask` freezes the weights of any of them and learns which to keep, by
  the masks of `topk_mask`.
- `conv_embedding`: the four-block encoder of few-shot learning, and
  `resnet18_embedding`. Encoders give a vector per example and are the
  `EMBEDDINGS` of `make_embedding`.
- `make_network` builds one of `NETWORKS` by name, with options:
  'resnet18(norm=batch)'; `residual_mlp` is the fully connected relative.
- `from_linen`, `from_nnx` adapt flax modules (tasks take modules as they are,
  through `as_network`); `BatchNorm`, `Conv`,
  `Dense` and `max_pool` are our layers for modules of your own.

Parameters take the dtype of the floating-point example inputs and outputs the
common dtype of parameters and inputs; statistics and losses are at least
float32. All kernels of a network are cut from one random draw, so that
initialization compiles in the same fraction of a second at any depth. They have
variance 1 / fan_in; every network of `NETWORKS` takes another of
`KERNEL_INITS` as `kernel_init`, 'lenet(kernel_init=critical)', and
`with_kernel_init` scales those of a task; `kernel_variances` tells which.

`functional` holds what layers are made of, `features` random features, `hyper`
networks whose parameters another network makes. `activations` returns what the
layers of any network make, by name; `tap` names a value in a network of your
own.

Statistics. A network with batch normalization keeps its running statistics in
`params['statistics']` (`has_statistics`). Its `apply` takes two more keywords:
`mask: bool[B]`, rows that the statistics leave out, and `mutable=True`, which
returns `(outputs, statistics of the batch)`. Training uses the batch's
statistics, evaluation the running ones. Those learn through
`statistics_surrogate`, a term of value zero whose gradient is
`statistics - batch`, so that any gradient method and any aggregation handles
them; gradient norms and momentum see that entry too. After averaging models, or
to end a training with an adaptive optimizer, `recalibrate` estimates them
exactly. `training_outputs` is what a loss of your own should call.

Tasks. `classification` and `regression` turn a network into a `Task` on
batches `{'inputs', 'labels', 'mask'}`; `language_modeling` predicts tokens, all
or only those that name a class; `episodic` tells the classes of an episode
apart, `{'support', 'query'}`, by one of `DISTANCES` (`prototypical_logits`,
`squared_distances`, `mahalanobis_distances`).

On CPU, training mode computes convolutions as matrix products, whose gradients
are fast inside loops and with one kernel per client; keep `train=False` for
plain evaluation, which needs less memory.
"""

from jaxdl.networks import features, functional, hyper
from jaxdl.networks._as_network import as_network
from jaxdl.networks._bias_free import conv8, frl_lenet
from jaxdl.networks._convolutional import (
  fedfix_cifar_cnn,
  fedjax_emnist_cnn,
  lenet,
  mip_mnist_cnn,
  monna_cifar_cnn,
  monna_mnist_cnn,
  ocfl_cnn,
)
from jaxdl.networks._dense import logistic_regression, mlp, residual_mlp
from jaxdl.networks._embeddings import (
  EMBEDDINGS,
  conv_embedding,
  make_embedding,
  resnet18_embedding,
)
from jaxdl.networks._episodic import (
  DISTANCES,
  embedded_size,
  episodic,
  mahalanobis_distances,
  prototypical_logits,
  squared_distances,
)
from jaxdl.networks._inside import activations
from jaxdl.networks._kernels import kernel_variances, with_kernel_init
from jaxdl.networks._layers import Conv, Dense
from jaxdl.networks._linen import BatchNorm, from_linen, max_pool
from jaxdl.networks._nnx import from_nnx
from jaxdl.networks._recurrent import char_lstm
from jaxdl.networks._registry import NETWORKS, make_network
from jaxdl.networks._resnet import resnet18, resnet34
from jaxdl.networks._statistics import (
  has_statistics,
  recalibrate,
  split_statistics,
  statistics_surrogate,
  training_outputs,
  with_statistics,
)
from jaxdl.networks._supermask import (
  masked_weights,
  num_kept,
  supermask,
  topk_mask,
)
from jaxdl.networks._taps import tap
from jaxdl.networks._tasks import classification, regression
from jaxdl.networks._transformer import (
  causal_attention,
  language_modeling,
  transformer_lm,
)
from jaxdl.networks.functional import ACTIVATIONS, KERNEL_INITS

__all__ = [
  'ACTIVATIONS',
  'BatchNorm',
  'Conv',
  'DISTANCES',
  'Dense',
  'EMBEDDINGS',
  'KERNEL_INITS',
  'NETWORKS',
  'activations',
  'as_network',
  'causal_attention',
  'char_lstm',
  'classification',
  'conv8',
  'conv_embedding',
  'embedded_size',
  'episodic',
  'features',
  'fedfix_cifar_cnn',
  'fedjax_emnist_cnn',
  'from_linen',
  'from_nnx',
  'frl_lenet',
  'functional',
  'has_statistics',
  'hyper',
  'kernel_variances',
  'language_modeling',
  'lenet',
  'logistic_regression',
  'mahalanobis_distances',
  'make_embedding',
  'make_network',
  'masked_weights',
  'max_pool',
  'mip_mnist_cnn',
  'mlp',
  'monna_cifar_cnn',
  'monna_mnist_cnn',
  'num_kept',
  'ocfl_cnn',
  'prototypical_logits',
  'recalibrate',
  'regression',
  'residual_mlp',
  'resnet18',
  'resnet34',
  'resnet18_embedding',
  'split_statistics',
  'squared_distances',
  'statistics_surrogate',
  'supermask',
  'tap',
  'topk_mask',
  'training_outputs',
  'transformer_lm',
  'with_kernel_init',
  'with_statistics',
]
