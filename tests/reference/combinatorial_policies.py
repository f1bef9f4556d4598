# SPDX-License-Identifier: Apache-2.0
"""Conquering policies in NumPy, float64, from the formulas alone."""

import jax
import numpy as np


def in_float64(tree):
  return jax.tree.map(lambda x: np.asarray(x, np.float64), tree)


def sigmoid(x):
  return 1 / (1 + np.exp(-x))


def softmax(x):
  e = np.exp(x - x.max(-1, keepdims=True))
  return e / e.sum(-1, keepdims=True)


def dense(x, p):
  return x @ p['kernel'] + p.get('bias', 0.0)


def norm(x, p):
  x = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5)
  return x * p['scale'] + p['bias']


def perceptron(x, p):
  h = np.maximum(dense(x, p['inner']), 0)
  return norm(x + dense(h, p['outer']), p['norm'])


def attention_free(q, k, v, bias, allowed=None):
  """Weights one by one, with the exponents of one channel at a time."""
  out = np.zeros((len(q), v.shape[1]))
  for i, c in np.ndindex(out.shape):
    there = np.ones(len(k), bool) if allowed is None else allowed[i]
    weights = softmax(bias[i][there] + k[there, c])
    out[i, c] = sigmoid(q[i, c]) * (weights @ v[there, c])
  return out


def heads(q, k, v, num_heads, *, allowed=None, sharp=False, mix=None):
  size, out = q.shape[1] // num_heads, []
  for h in range(num_heads):
    part = slice(h * size, (h + 1) * size)
    scores = q[:, part] @ k[:, part].T
    scores = scores if sharp else scores / np.sqrt(size)
    if mix is not None:
      scores = mix(h, scores)
    if allowed is not None:
      scores = np.where(allowed, scores, -np.inf)
    out.append(softmax(scores) @ v[:, part])
  return np.concatenate(out, axis=1)


def attend(x, y, p, num_heads, **options):
  k, v = np.split(dense(y, p['pairs']), 2, axis=-1)
  out = heads(dense(x, p['query']), k, v, num_heads, **options)
  return norm(x + dense(out, p['outer']), p['norm'])


def ask(x, at, extra, kernel):
  return np.concatenate([x[at], extra]) @ kernel


def pointer(scores, context, clip):
  return np.where(context.allowed, clip * np.tanh(scores), -np.inf)


def icam(params, features, distances, context, query, depth):
  p = in_float64(params['params'])
  x, d, extra = in_float64((features, distances, context.extra))
  reach = np.log2(len(x)) * d
  x = dense(x, p['nodes'])
  if query == 'path':
    for i in (0, -1):
      x[i] = dense(x[i], p['ends'])
  elif query == 'routes':
    x[1], x[-1] = dense(x[1], p['head']), dense(x[-1], p['tail'])
  for n in range(depth):
    q = p[f'layers_{n}']
    maps = np.split(dense(x, q['maps']), 3, axis=-1)
    bias = -q['alpha']['scale'] * reach
    x = norm(x + attention_free(*maps, bias), q['norm'])
    x = perceptron(x, q['perceptron'])
  k, v = np.split(dense(x, p['pairs']), 2, axis=-1)
  last = p['last']['kernel']
  if query == 'items':
    asked = np.concatenate([x.mean(0), extra]) @ last
  else:
    asked = ask(x, int(context.last), extra, last)
    asked = asked + dense(x[int(context.end)], p['end'])
  if query == 'routes':
    asked = asked + dense(x[0], p['depot'])
  row = reach[int(context.last)] if int(context.last) >= 0 else 0 * reach[0]
  out = attention_free(
    asked[None],
    k,
    v,
    -p['alpha']['scale'] * row[None],
    np.asarray(context.allowed)[None],
  )[0]
  scores = x @ out / np.sqrt(x.shape[1]) - p['beta']['scale'] * row
  return pointer(scores, context, 50.0)


def relative(d):
  return d / d.max(1, keepdims=True)


def attention(params, features, distances, context):
  p = in_float64(params['params'])
  x, d, extra = in_float64((features, distances, context.extra))
  x = dense(x, p['nodes'])
  x = perceptron(attend(x, x, p['looks_0'], 2), p['thoughts_0'])
  asked = ask(x, int(context.last), extra, p['last']['kernel'])
  asked = asked + dense(x[int(context.end)], p['end'])
  k, v = np.split(dense(x, p['pairs']), 2, axis=-1)
  seen = np.asarray(context.allowed)[None]
  out = heads(asked[None], k, v, 2, allowed=seen)
  out = dense(out, p['outer'])[0]
  scores = x @ out / np.sqrt(8)
  scores = scores - p['beta']['scale'] * relative(d)[int(context.last)]
  return pointer(scores, context, 50.0)


def mixed(scores, costs, p, head):
  """Of one head, entry by entry."""
  inner, outer = p['mix_inner'], p['mix_outer']
  out = np.zeros_like(scores)
  for i, j in np.ndindex(scores.shape):
    pair = np.array([scores[i, j], costs[i, j]])
    h = np.maximum(pair @ inner['kernel'][head] + inner['bias'][head], 0)
    out[i, j] = (h @ outer['kernel'][head] + outer['bias'][head])[0]
  return out


def matnet(params, features, costs, context):
  p = in_float64(params['params'])
  costs, extra = in_float64((costs, context.extra))
  del features
  x, y = np.zeros((len(costs), 8)), np.eye(8)[: len(costs)]

  def side(x, y, costs, p):
    mix = lambda h, scores: mixed(scores, costs, p, h)
    return perceptron(attend(x, y, p['look'], 2, mix=mix), p['perceptron'])

  x, y = side(x, y, costs, p['rows_0']), side(y, x, costs.T, p['columns_0'])
  asked = ask(x, int(context.last), extra, p['last']['kernel'])
  asked = asked + dense(y[int(context.end)], p['end'])
  k, v = np.split(dense(y, p['pairs']), 2, axis=-1)
  seen = np.asarray(context.allowed)[None]
  out = dense(heads(asked[None], k, v, 2, allowed=seen), p['outer'])
  return pointer(y @ out[0] / np.sqrt(8), context, 10.0)


def dpn(params, features, distances, context):
  p = in_float64(params['params'])
  x, d, extra = in_float64((features, distances, context.extra))
  depot, x = dense(x[0], p['depot']), dense(x, p['nodes'])
  x[0] = depot
  agents = []
  for s in range(4):
    z = depot[:4] + 1j * depot[4:]
    z = z * np.exp(1j * s * 10000.0 ** (-np.arange(4) / 4))
    agents.append(np.concatenate([z.real, z.imag]))
  g, q = np.array(agents), p['layers_0']
  x = attend(x, x, q['nodes'], 2)
  g = perceptron(attend(g, x, q['agents'], 2), q['agent_perceptron'])
  x = attend(x, g, q['back'], 2, sharp=True)
  x = perceptron(x, q['node_perceptron'])
  now = int(extra[0])
  extra = extra / np.array([4.0, 1.0])
  asked = ask(x, int(context.last), extra, p['last']['kernel'])
  asked = (
    asked + dense(x[int(context.end)], p['end']) + dense(g[now], p['agent'])
  )
  actions = np.concatenate([g[now + 1 : now + 2], x[1:]])
  k, v = np.split(dense(actions, p['pairs']), 2, axis=-1)
  seen = np.asarray(context.allowed)[None]
  out = dense(heads(asked[None], k, v, 2, allowed=seen), p['outer'])
  scores = actions @ out[0] / np.sqrt(8)
  scores = scores - p['beta']['scale'] * relative(d)[int(context.last)]
  return pointer(scores, context, 50.0)
