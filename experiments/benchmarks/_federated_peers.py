# SPDX-License-Identifier: Apache-2.0
"""Rounds of federated averaging in other libraries, each in its own process.

Called by `federated.py` with the interpreter of an environment that has the
library; prints one line of JSON: milliseconds of every round and, for FedJAX,
parameters after three rounds. Imports nothing of this project.

    python3.11 -m venv fedjax
    fedjax/bin/pip install fedjax==0.0.17 jax==0.4.25 jaxlib==0.4.25 'numpy<2' \
      dm-haiku==0.0.11 optax==0.1.9 chex==0.1.85 'scipy<1.13'
    python3.11 -m venv others
    others/bin/pip install torch==2.13.0 pfl==0.6.0 'flwr[simulation]==1.42.0'

Usage: python _federated_peers.py fedjax|pfl|flwr '{"clients": 64, ...}'
"""

import json
import sys
import time

import numpy as np


def examples(clients, size, shape, classes):
  """The examples of all clients; `federated.py` draws the same."""
  rng = np.random.default_rng(0)
  inputs = rng.normal(size=(clients, size, *shape)).astype(np.float32)
  labels = rng.integers(0, classes, size=(clients, size)).astype(np.int32)
  return inputs, labels


def layers(sizes):
  """Weights of a dense network; `federated.py` draws the same."""
  rng = np.random.default_rng(1)
  return [
    (
      (rng.normal(size=(a, b)) / np.sqrt(a)).astype(np.float32),
      np.zeros(b, np.float32),
    )
    for a, b in zip(sizes[:-1], sizes[1:], strict=True)
  ]


def fedjax(setting):
  """Rounds of FedJAX, and the models of three algorithms."""
  import fedjax
  import jax
  import jax.numpy as jnp
  from fedjax.algorithms import fed_avg, fed_prox, mime_lite

  classes = setting['classes']
  inputs, labels = examples(
    setting['clients'], setting['size'], setting['shape'], classes
  )
  rate, batch = setting['rate'], setting['batch']
  sgd = lambda r: fedjax.optimizers.sgd(learning_rate=r)
  hparams = fedjax.ShuffleRepeatBatchHParams(
    batch_size=batch, num_epochs=setting['epochs']
  )
  if setting['network'] == 'cnn':
    model = fedjax.models.emnist.create_conv_model(only_digits=False)
    params = model.init(jax.random.PRNGKey(0))
    grad_fn = fedjax.model_grad(model)
    loss = fedjax.model_per_example_loss(model)
  else:
    params = [list(map(jnp.asarray, p)) for p in layers(setting['sizes'])]

    def loss(params, batch, rng):
      del rng
      h = batch['x']
      for i, (w, b) in enumerate(params):
        h = h @ w + b
        h = jax.nn.relu(h) if i < len(params) - 1 else h
      logs = jax.nn.log_softmax(h)
      return -jnp.take_along_axis(logs, batch['y'][:, None], 1)[:, 0]

    grad_fn = jax.grad(lambda p, b, r: jnp.mean(loss(p, b, r)))
  sets = [
    fedjax.ClientDataset({'x': x, 'y': y})
    for x, y in zip(inputs, labels, strict=True)
  ]
  keys = jax.random.split(jax.random.PRNGKey(0), len(sets))
  clients = [
    (b'%d' % k, data, key)
    for k, (data, key) in enumerate(zip(sets, keys, strict=True))
  ]
  algorithms = {
    'fedavg': fed_avg.federated_averaging(grad_fn, sgd(rate), sgd(1.0), hparams)
  }
  if setting.get('others'):
    algorithms['fedprox'] = fed_prox.fed_prox(
      loss, sgd(rate), sgd(1.0), hparams, proximal_weight=0.1
    )
    algorithms['mime_lite'] = mime_lite.mime_lite(
      loss,
      fedjax.optimizers.sgd(learning_rate=rate, momentum=0.9),
      hparams,
      fedjax.PaddedBatchHParams(batch_size=batch),
      1.0,
    )
  models = {}
  for name, algorithm in algorithms.items():
    state = algorithm.init(params)
    for _ in range(3):
      state, _ = algorithm.apply(state, clients)
    leaves = jax.tree_util.tree_leaves(state.params)
    if setting['network'] != 'cnn':
      models[name] = [np.asarray(x).tolist() for x in leaves]
  if not setting.get('send'):
    models = {}
  algorithm, times = algorithms['fedavg'], []
  state = algorithm.init(params)
  for _ in range(setting['rounds'] + 1):
    start = time.perf_counter()
    state, _ = algorithm.apply(state, clients)
    jax.block_until_ready(state.params)
    times.append(1e3 * (time.perf_counter() - start))
  return {
    'ms': times[1:],
    'models': models,
    'version': f'fedjax 0.0.17, jax {jax.__version__}',
  }


def _torch_network(setting):
  import torch

  parts = []
  for i, (w, b) in enumerate(layers(setting['sizes'])):
    layer = torch.nn.Linear(*w.shape)
    with torch.no_grad():
      layer.weight.copy_(torch.from_numpy(w.T.copy()))
      layer.bias.copy_(torch.from_numpy(b))
    parts += (
      [layer]
      if i == len(setting['sizes']) - 2
      else [
        layer,
        torch.nn.ReLU(),
      ]
    )
  return torch.nn.Sequential(*parts)


def pfl(setting):
  """Rounds of pfl-research, simulated in one process."""
  import pfl as library
  import torch
  from pfl.aggregate.simulate import SimulatedBackend
  from pfl.algorithm.base import NNAlgorithmParams
  from pfl.algorithm.federated_averaging import FederatedAveraging
  from pfl.callback.base import TrainingProcessCallback
  from pfl.data import FederatedDataset
  from pfl.data.dataset import Dataset
  from pfl.hyperparam import NNTrainHyperParams
  from pfl.metrics import Weighted
  from pfl.model.pytorch import PyTorchModel

  inputs, labels = examples(
    setting['clients'], setting['size'], setting['shape'], setting['classes']
  )
  sets = {
    k: (torch.from_numpy(x), torch.from_numpy(y).long())
    for k, (x, y) in enumerate(zip(inputs, labels, strict=True))
  }

  class Learned(torch.nn.Module):
    def __init__(self):
      super().__init__()
      self.inner = _torch_network(setting)

    def forward(self, x):
      return self.inner(x)

    def loss(self, x, y, is_eval=False):
      self.train(not is_eval)
      return torch.nn.functional.cross_entropy(self(x), y)

    def metrics(self, x, y, is_eval=True):
      return {
        'loss': Weighted(float(self.loss(x, y, is_eval)) * len(y), len(y))
      }

  ids = iter(
    lambda state=[0]: (
      state.__setitem__(0, state[0] + 1)
      or ((state[0] - 1) % setting['clients'])
    ),
    -1,
  )
  data = FederatedDataset(
    lambda k: Dataset(sets[k], user_id=k), lambda: next(ids)
  )
  module = Learned()
  model = PyTorchModel(
    module,
    torch.optim.SGD,
    torch.optim.SGD(module.parameters(), 1.0),
  )
  times = []

  class Clock(TrainingProcessCallback):
    def after_central_iteration(self, metrics, model, *, central_iteration):
      times.append(time.perf_counter())
      return False, library.metrics.Metrics()

  rounds = setting['rounds'] + 2
  FederatedAveraging().run(
    NNAlgorithmParams(
      central_num_iterations=rounds,
      evaluation_frequency=10**9,
      train_cohort_size=setting['clients'],
      val_cohort_size=0,
    ),
    SimulatedBackend(training_data=data, val_data=data),
    model,
    NNTrainHyperParams(
      local_batch_size=setting['batch'],
      local_num_epochs=setting['epochs'],
      local_learning_rate=setting['rate'],
    ),
    None,
    callbacks=[Clock()],
  )
  return {
    'ms': (1e3 * np.diff(times))[1:].tolist(),
    'models': {},
    'version': f'pfl 0.6.0, torch {torch.__version__}',
  }


def flwr(setting):
  """Rounds of Flower's simulation with Ray."""
  import flwr as library
  import torch
  from flwr.client import ClientApp, NumPyClient
  from flwr.common import Context, ndarrays_to_parameters
  from flwr.server import ServerApp, ServerAppComponents, ServerConfig
  from flwr.server.strategy import FedAvg
  from flwr.simulation import run_simulation

  inputs, labels = examples(
    setting['clients'], setting['size'], setting['shape'], setting['classes']
  )
  ends = []

  class Client(NumPyClient):
    def __init__(self, k):
      self.x = torch.from_numpy(inputs[k])
      self.y = torch.from_numpy(labels[k]).long()

    def fit(self, parameters, config):
      del config
      network = _torch_network(setting)
      with torch.no_grad():
        for p, value in zip(network.parameters(), parameters, strict=True):
          p.copy_(torch.from_numpy(np.array(value)))
      optimizer = torch.optim.SGD(network.parameters(), setting['rate'])
      for _ in range(setting['epochs']):
        order = torch.randperm(len(self.y))
        for rows in order.split(setting['batch']):
          optimizer.zero_grad()
          out = network(self.x[rows])
          torch.nn.functional.cross_entropy(out, self.y[rows]).backward()
          optimizer.step()
      weights = [p.detach().numpy() for p in network.parameters()]
      return weights, len(self.y), {}

  class Timed(FedAvg):
    def aggregate_fit(self, server_round, results, failures):
      out = super().aggregate_fit(server_round, results, failures)
      ends.append(time.perf_counter())
      return out

  def client_fn(context: Context):
    return Client(int(context.node_config['partition-id'])).to_client()

  def server_fn(context: Context):
    del context
    start = [p.detach().numpy() for p in _torch_network(setting).parameters()]
    strategy = Timed(
      fraction_fit=1.0,
      fraction_evaluate=0.0,
      min_fit_clients=setting['clients'],
      min_available_clients=setting['clients'],
      initial_parameters=ndarrays_to_parameters(start),
    )
    config = ServerConfig(num_rounds=setting['rounds'] + 2)
    return ServerAppComponents(strategy=strategy, config=config)

  run_simulation(
    server_app=ServerApp(server_fn=server_fn),
    client_app=ClientApp(client_fn=client_fn),
    num_supernodes=setting['clients'],
    backend_config={'client_resources': {'num_cpus': 1, 'num_gpus': 0.0}},
  )
  return {
    'ms': (1e3 * np.diff(ends))[1:].tolist(),
    'models': {},
    'version': f'flwr {library.__version__}, torch {torch.__version__}',
  }


if __name__ == '__main__':
  found = {'fedjax': fedjax, 'pfl': pfl, 'flwr': flwr}[sys.argv[1]](
    json.loads(sys.argv[2])
  )
  print('\n' + json.dumps(found))
