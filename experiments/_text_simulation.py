# SPDX-License-Identifier: Apache-2.0
"""Fine-tuning a language model on prompts: data, a pretrained start, a task."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdl import data as data_lib, networks
from jaxdl.experiment import supervised

DATASETS = ('sentiment', 'sst2_tsv')
_TEXT_SEED = 11


def load(config):
  """Reads or makes up labelled texts.

  Args:
    config: knobs.

  Returns:
    `(train, test)`, each `(texts, labels)`.
  """
  if config.dataset == 'sst2_tsv':
    return data_lib.load_sst2(config.data_dir)
  rng = np.random.default_rng(_TEXT_SEED)
  return (
    data_lib.sentiment_reviews(rng, config.num_texts),
    data_lib.sentiment_reviews(rng, 400),
  )


def corpus(config, texts) -> np.ndarray:
  """Bytes to pretrain on, without any label of the task.

  Made-up reviews end in a verdict in other words than the task's, so that the
  model learns to read them but not how it will be asked.

  Args:
    config: knobs.
    texts: the task's own texts, used where reviews are not made up.

  Returns:
    i32[n].
  """
  if config.dataset == 'sentiment':
    rng = np.random.default_rng(_TEXT_SEED + 1)
    texts, labels = data_lib.sentiment_reviews(rng, 6000)
    texts = [
      text + b'\nverdict: ' + (b'good' if label else b'bad')
      for text, label in zip(texts, labels, strict=True)
    ]
  text = b'\n\n'.join([data_lib.python_text(config.text_bytes), *texts])
  return np.frombuffer(text, np.uint8).astype(np.int32)


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3, 4))
def _pretrain(task, length, steps, batch_size, rate, key, text):
  optimizer = optax.adam(
    optax.warmup_cosine_decay_schedule(0.0, rate, max(steps // 10, 1), steps)
  )
  init_key, key = jax.random.split(key)
  params = task.init(init_key)

  def body(carry, key):
    params, opt_state = carry
    at = jax.random.randint(key, (batch_size,), 0, len(text) - length)
    window = text[at[:, None] + jnp.arange(length + 1)[None, :]]
    batch = {'inputs': window[:, :-1], 'labels': window[:, 1:]}
    loss, grads = jax.value_and_grad(task.loss)(params, batch)
    change, opt_state = optimizer.update(grads, opt_state, params)
    return (optax.apply_updates(params, change), opt_state), loss

  carry = (params, optimizer.init(params))
  (params, _), losses = jax.lax.scan(body, carry, jax.random.split(key, steps))
  return params, losses


def pretrained(config, text: np.ndarray):
  """Trains the language model with Adam, the same for all seeds.

  Args:
    config: knobs.
    text: i32[n] bytes.

  Returns:
    `(network, params, losses: f32[pretrain_steps])`.
  """
  length = config.sequence_length
  network = networks.transformer_lm(
    width=config.width,
    depth=config.depth,
    num_heads=config.num_heads,
    max_length=length,
  )
  tokens = jax.ShapeDtypeStruct((1, length), jnp.int32)
  task = networks.language_modeling(network, tokens)
  key = jax.random.key(_TEXT_SEED)
  if not config.pretrain_steps:
    return network, task.init(key), np.zeros(0, np.float32)
  params, losses = _pretrain(
    task,
    length,
    config.pretrain_steps,
    config.pretrain_batch_size,
    config.pretrain_rate,
    key,
    jnp.asarray(text),
  )
  return network, params, np.asarray(losses)


def simulate(config) -> supervised.Simulation:
  """Pretrains the model and deals prompts to machines.

  Args:
    config: knobs.

  Returns:
    The simulation; its task starts from the pretrained model.
  """
  train, test = load(config)
  network, params, _ = pretrained(config, corpus(config, train[0]))
  length = config.sequence_length
  task = networks.language_modeling(
    network,
    jax.ShapeDtypeStruct((1, length), jnp.int32),
    label_tokens=[word[0] for word in data_lib.SENTIMENT_LABELS],
  )._replace(init=lambda key: params)
  arrays = data_lib.prompt_tokens(*train, length=length)
  options = {'alpha': config.alpha, 'min_size': 1}
  if config.partition == 'iid':
    options = {}
  parts = [
    data_lib.make_partition(
      config.partition,
      np.random.default_rng(seed),
      train[1],
      config.num_clients,
      **options,
    )
    for seed in config.seeds
  ]
  size = max(len(part) for seed in parts for part in seed)
  stacked = [data_lib.stack_clients(arrays, seed, size) for seed in parts]
  batches = data_lib.eval_batches(
    data_lib.prompt_tokens(*test, length=length),
    min(config.eval_batch_size, len(test[1])),
  )
  return supervised.Simulation(
    task=task,
    client_data={
      name: jnp.asarray(np.stack([s[0][name] for s in stacked]))
      for name in arrays
    },
    mask=jnp.asarray(np.stack([s[1] for s in stacked])),
    test=jax.tree.map(jnp.asarray, batches),
    num_classes=2,
    class_tables=np.stack(
      [data_lib.class_table(train[1], seed, 2) for seed in parts]
    ),
  )
