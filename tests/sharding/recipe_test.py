# SPDX-License-Identifier: Apache-2.0
"""Gradients of replicated parameters inside a shard_map of your own."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import aggregators
from jaxdl.core import clients

N, B, D, F = 16, 5, 3, 3
RNG = np.random.default_rng(0)
PARAMS = RNG.normal(size=D).astype(np.float32)
INPUTS = RNG.normal(size=(N, B, D)).astype(np.float32)
LABELS = RNG.normal(size=(N, B)).astype(np.float32)
LABELS[-F:] *= 50  # Spoilt data: their gradients are large.
RULES = {
  'multi_krum': functools.partial(aggregators.multi_krum, num_byzantine=F),
  'trimmed_mean': functools.partial(aggregators.trimmed_mean, num_trimmed=F),
}


def _loss(params, inputs, labels):
  return jnp.mean((inputs @ params - labels) ** 2)


def _by_hand(name):
  """The rule on float64 gradients, in closed form."""
  x, y = INPUTS.astype(np.float64), LABELS.astype(np.float64)
  residuals = x @ PARAMS.astype(np.float64) - y
  rows = 2 / B * np.einsum('nb,nbd->nd', residuals, x)
  if name == 'trimmed_mean':
    return np.sort(rows, axis=0)[F:-F].mean(axis=0)
  squares = np.sort(((rows[:, None] - rows[None]) ** 2).sum(-1), axis=1)
  scores = squares[:, 1 : N - F - 1].sum(axis=1)
  return rows[np.argsort(scores)[: N - F]].mean(axis=0)


class RecipeTest(parameterized.TestCase):
  """The recipe of the aggregators' docstring, word for word."""

  @parameterized.product(name=list(RULES), check_vma=[True, False])
  def test_every_client_gets_its_own_gradient(self, name, check_vma):
    def step(params, inputs, labels):  # This device's clients.
      params = jax.lax.pcast(params, 'clients', to='varying')
      grads = jax.vmap(jax.grad(_loss), in_axes=(None, 0, 0))(
        params, inputs, labels
      )
      update = RULES[name](grads, axis_name='clients')
      return jax.lax.pmean(update, 'clients')

    run = jax.shard_map(
      step,
      mesh=clients.clients_mesh(8),
      in_specs=(jax.P(), jax.P('clients'), jax.P('clients')),
      out_specs=jax.P(),
      check_vma=check_vma,
    )
    got = jax.jit(run)(PARAMS, INPUTS, LABELS)
    np.testing.assert_allclose(got, _by_hand(name), rtol=1e-5, atol=1e-6)


if __name__ == '__main__':
  absltest.main()
