# SPDX-License-Identifier: Apache-2.0
"""Fine-tuning a small language model on prompts that ask for a verdict."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdl import data as data_lib, local, networks
from jaxdl.core import checks, registry, types
from jaxdl.experiment import config as config_lib
from jaxdl.problems import _classification

knob = config_lib.knob

_TEXT_SEED = 11


class Texts(NamedTuple):
  """Texts of a task, and the transformer that reads them.

  Attributes:
    train: texts and labels.
    test: texts and labels.
    length: bytes of a prompt or window.
    width: of the transformer.
    depth: its blocks.
    num_heads: its heads.
  """

  train: tuple[Sequence[bytes], np.ndarray]
  test: tuple[Sequence[bytes], np.ndarray]
  length: int
  width: int
  depth: int
  num_heads: int


def sentiment(
  *,
  num_texts: int = 1000,
  length: int = 64,
  width: int = 32,
  depth: int = 2,
  num_heads: int = 4,
) -> Texts:
  """Reviews that are made up, with 400 more for tests.

  Args:
    num_texts: how many to train on, >= 2.
    length: bytes of a prompt or window, >= 16.
    width: of the transformer.
    depth: its blocks.
    num_heads: its heads.

  Returns:
    The texts.
  """
  checks.integer(num_texts, name='num_texts', low=2)
  checks.integer(length, name='length', low=16)
  rng = np.random.default_rng(_TEXT_SEED)
  return Texts(
    data_lib.sentiment_reviews(rng, num_texts),
    data_lib.sentiment_reviews(rng, 400),
    length,
    width,
    depth,
    num_heads,
  )


def sst2(
  *,
  data_dir: str,
  length: int = 64,
  width: int = 32,
  depth: int = 2,
  num_heads: int = 4,
) -> Texts:
  """The Stanford Sentiment Treebank, from `train.tsv` and `dev.tsv`.

  Args:
    data_dir: folder of the files.
    length: bytes of a prompt or window, >= 16.
    width: of the transformer.
    depth: its blocks.
    num_heads: its heads.

  Returns:
    The texts.
  """
  checks.integer(length, name='length', low=16)
  train, test = data_lib.load_sst2(data_dir)
  return Texts(train, test, length, width, depth, num_heads)


TEXTS = registry.Registry(
  'dataset', {'sentiment': sentiment, 'sst2': sst2}, given=('data_dir',)
)


def is_text(spec: str) -> bool:
  """Whether a data set is one of texts.

  Args:
    spec: a part.

  Returns:
    True for those of `TEXTS`.
  """
  return registry.parse(spec).name in TEXTS


def texts_need_files(spec: str) -> bool:
  """Whether texts are read from local files."""
  return checks.takes(TEXTS[TEXTS.part(spec).name], 'data_dir')


def small_texts(spec: str) -> str:
  """Few texts and a tiny transformer, for small runs; others are kept."""
  if not is_text(spec):
    return spec
  few = {'num_texts': 64} if not texts_need_files(spec) else {}
  return config_lib.set_low(spec, width=16, depth=1, **few)


def adam(
  *,
  learning_rate: float = 3e-3,
  steps: int = 1500,
  batch_size: int = 32,
  text_bytes: int = 20_000,
) -> dict[str, Any]:
  """Adam on unlabeled text, with a warm-up and a cosine.

  Args:
    learning_rate: the largest.
    steps: how many; 0 starts from a random model.
    batch_size: windows per step.
    text_bytes: bytes of docstrings that are read besides the task's own texts.

  Returns:
    The options.
  """
  checks.number(learning_rate, name='learning_rate', low=0.0)
  checks.integer(steps, name='steps', low=0)
  checks.integer(batch_size, name='batch_size', low=1)
  checks.integer(text_bytes, name='text_bytes', low=1)
  return {
    'rate': learning_rate,
    'steps': steps,
    'batch_size': batch_size,
    'text_bytes': text_bytes,
  }


PRETRAININGS = registry.Registry('pretraining', {'adam': adam})


def text(
  dataset: str = 'sentiment',
  *,
  partition: str = 'iid',
  pretraining: str = 'adam',
  num_clients: int = 8,
  batch_size: int = 16,
  num_batches: int | None = None,
  data_dir: str | None = None,
  eval_batch_size: int = 512,
  seeds: Sequence[int] = (0,),
) -> types.Problem:
  """Pretrains a byte-level transformer and deals prompts to clients.

  The pretrained model is the same for all seeds and clients. Made-up reviews
  end in a verdict in other words than the task's while it is pretrained, so
  that the model learns to read them but not how it will be asked.

  Args:
    dataset: a part of `TEXTS`.
    partition: a part of `data.PARTITIONERS`.
    pretraining: a part of `PRETRAININGS`.
    num_clients: N.
    batch_size: B, prompts in a batch.
    num_batches: H, batches per client and round, leaves [N, H, B, ...]; None
      for one without an axis of its own.
    data_dir: folder of the files.
    eval_batch_size: prompts per evaluation batch.
    seeds: S seeds.

  Returns:
    The problem; its task starts from the pretrained model.

  Raises:
    ValueError: if an option is out of range or files are wrong.
  """
  seeds = checks.seeds(seeds)
  texts = TEXTS.make(dataset, data_dir=data_dir)
  train, test, length = texts.train, texts.test, texts.length
  network = _reader(texts)
  options = PRETRAININGS.make(pretraining)
  corpus = _corpus(dataset, train[0], options.pop('text_bytes'))
  params = pretrained(network, corpus, length, **options)
  task = _prompting(network, length)._replace(init=lambda key: params)
  arrays = data_lib.prompt_tokens(*train, length=length)
  batches = data_lib.eval_batches(
    data_lib.prompt_tokens(*test, length=length),
    min(eval_batch_size, len(test[1])),
  )
  batches = jax.tree.map(jnp.asarray, batches)
  evaluate = _classification.evaluator(task, batches)

  def cohort(key, data, round):
    batch_key, _ = jax.random.split(jax.random.fold_in(key, round))
    return local.batch_cohort(
      batch_key, *data, batch_size=batch_size, num_batches=num_batches
    )

  return types.Problem(
    task=task,
    data=_classification.deal(arrays, train[1], partition, num_clients, seeds),
    cohort=cohort,
    evaluate=evaluate,
    evaluate_clients=_classification.clients_evaluator(evaluate, ('worst',)),
    reliability=_classification.reliability(task, batches, seeds),
    network=network,
    seeds=seeds,
    num_clients=num_clients,
    num_classes=2,
    metric='accuracy',
    ylabel='Test accuracy',
    test=batches,
  )


def _prompting(network, length):
  return networks.language_modeling(
    network,
    jax.ShapeDtypeStruct((1, length), jnp.int32),
    label_tokens=[word[0] for word in data_lib.SENTIMENT_LABELS],
  )


def with_reader(
  problem: types.Problem, network: types.Network
) -> types.Problem:
  """Gives a problem of prompts to another network, from the start it draws.

  Args:
    problem: from `text`.
    network: tokens i[B, L] to logits f[B, L, 256] of the next byte.

  Returns:
    The problem: the same data, batches and tests.

  Raises:
    ValueError: if the problem is none of texts, or the network does not read
      its tokens or makes something else of them.
    TypeError: if it is no network.
  """
  network = networks.as_network(network)
  _check_reader(problem, network)
  task = _prompting(network, problem.test['inputs'].shape[-1])
  evaluate = _classification.evaluator(task, problem.test)
  return dataclasses.replace(
    problem,
    task=task,
    network=network,
    evaluate=evaluate,
    evaluate_clients=_classification.clients_evaluator(evaluate, ('worst',)),
    reliability=_classification.reliability(task, problem.test, problem.seeds),
  )


def _check_reader(problem, network):
  """Traces a network on the prompts of a problem, which computes nothing."""
  test = problem.test
  found = test.get('inputs') if isinstance(test, Mapping) else None
  if getattr(found, 'dtype', None) != jnp.int32 or found.ndim != 3:
    raise ValueError(
      'problem must be one of prompts, from problems.text; its test holds '
      'something else.'
    )
  tokens = jax.ShapeDtypeStruct((1, found.shape[-1]), jnp.int32)
  want = (*tokens.shape, 256)
  try:
    params = jax.eval_shape(network.init, jax.random.key(0), tokens)
    got = jax.eval_shape(network.apply, params, tokens)
  except (TypeError, ValueError) as error:
    raise ValueError(
      f'network must read tokens of shape {tokens.shape}: {error}'
    ) from error
  if getattr(got, 'shape', None) != want:
    raise ValueError(
      f'network must make logits of shape {want} of tokens of shape '
      f'{tokens.shape}; it makes {checks.described(got)}.'
    )


def _reader(texts):
  """The transformer that reads texts."""
  return networks.transformer_lm(
    width=texts.width,
    depth=texts.depth,
    num_heads=texts.num_heads,
    max_length=texts.length,
  )


def _corpus(dataset, texts, text_bytes):
  """Bytes to pretrain on, without any label of the task: i32[n]."""
  if TEXTS.part(dataset).name == 'sentiment':
    rng = np.random.default_rng(_TEXT_SEED + 1)
    texts, labels = data_lib.sentiment_reviews(rng, 6000)
    texts = [
      review + b'\nverdict: ' + (b'good' if label else b'bad')
      for review, label in zip(texts, labels, strict=True)
    ]
  joined = b'\n\n'.join([data_lib.python_text(text_bytes), *texts])
  return np.frombuffer(joined, np.uint8).astype(np.int32)


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3, 4))
def _pretrain(task, length, steps, batch_size, rate, key, corpus):
  optimizer = optax.adam(
    optax.warmup_cosine_decay_schedule(0.0, rate, max(steps // 10, 1), steps)
  )
  init_key, key = jax.random.split(key)
  params = task.init(init_key)

  def body(carry, key):
    params, opt_state = carry
    at = jax.random.randint(key, (batch_size,), 0, len(corpus) - length)
    window = corpus[at[:, None] + jnp.arange(length + 1)[None, :]]
    batch = {'inputs': window[:, :-1], 'labels': window[:, 1:]}
    loss, grads = jax.value_and_grad(task.loss)(params, batch)
    change, opt_state = optimizer.update(grads, opt_state, params)
    return (optax.apply_updates(params, change), opt_state), loss

  carry = (params, optimizer.init(params))
  (params, _), losses = jax.lax.scan(body, carry, jax.random.split(key, steps))
  return params, losses


def pretrained(
  network: types.Network,
  corpus: np.ndarray,
  length: int,
  *,
  steps: int,
  batch_size: int,
  rate: float,
) -> Any:
  """Trains a language model with Adam, from one fixed key.

  Args:
    network: of tokens.
    corpus: i32[n], bytes.
    length: bytes of a window.
    steps: how many; 0 for the start.
    batch_size: windows per step.
    rate: largest step size.

  Returns:
    Its params.
  """
  tokens = jax.ShapeDtypeStruct((1, length), jnp.int32)
  task = networks.language_modeling(network, tokens)
  key = jax.random.key(_TEXT_SEED)
  if not steps:
    return task.init(key)
  return _pretrain(
    task, length, steps, batch_size, rate, key, jnp.asarray(corpus)
  )[0]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextConfig(_classification.ClassificationConfig):
  """Knobs of labeled examples or of texts, whichever the data set is."""

  dataset: str = knob(
    'digits',
    'Data set; sentiment and sst2 fine-tune a language model. Those of files '
    'need --data_dir.',
    registry=data_lib.DATASETS | TEXTS,
    smoke=small_texts,
  )
  pretraining: str = knob(
    'adam',
    'Of the language model, on unlabeled text.',
    registry=PRETRAININGS,
    smoke=functools.partial(
      config_lib.set_low, steps=3, batch_size=4, text_bytes=5000
    ),
  )

  @property
  def is_text(self) -> bool:
    """Whether a language model is fine-tuned."""
    return is_text(self.dataset)

  @property
  def reads_files(self) -> bool:
    """Whether the data set is read from local files."""
    if self.is_text:
      return texts_need_files(self.dataset)
    return super().reads_files

  @property
  def num_dealt(self) -> int:
    """Text is dealt by itself."""
    return 0 if self.is_text else self.num_clients

  def validate(self) -> None:
    """Checks the language model, before it is pretrained."""
    super().validate()
    if not self.is_text:
      return
    with config_lib.naming(pretraining=self.pretraining):
      PRETRAININGS.make(self.pretraining)
    if not self.reads_files:
      with config_lib.naming(dataset=self.dataset):
        _reader(TEXTS.make(self.dataset, data_dir=None))

  def ineffective(self) -> dict[str, str]:
    """A language model takes the place of the network."""
    if not self.is_text:
      return {'pretraining': 'it is for texts'}
    why = f'dataset={self.dataset} has a model of its own'
    return dict.fromkeys(('network', 'l2'), why)

  def problem(self, **changes: Any) -> types.Problem:
    """Builds the problem of the knobs.

    Args:
      **changes: arguments that differ from them.

    Returns:
      The problem.
    """
    if not self.is_text:
      return super().problem(**changes)
    own = {
      'partition': self.partition,
      'pretraining': self.pretraining,
      'num_clients': self.num_clients,
      'batch_size': self.batch_size,
      'data_dir': self.data_dir or None,
      'eval_batch_size': self.eval_batch_size,
      'seeds': self.seeds,
    }
    return text(self.dataset, **(own | changes))
