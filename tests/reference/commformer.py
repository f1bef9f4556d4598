# SPDX-License-Identifier: Apache-2.0
"""Transformers on a graph, float64, one pair of agents at a time."""

import math

import numpy as np
import scipy.special


def dense(p, x):
  y = np.asarray(x, np.float64) @ np.asarray(p['kernel'], np.float64)
  return y + np.asarray(p['bias'], np.float64) if 'bias' in p else y


def norm(p, x):
  x = x - x.mean()
  y = x / np.sqrt((x * x).mean() + 1e-5)
  scale, bias = (np.asarray(p[k], np.float64) for k in ('scale', 'bias'))
  return y * scale + bias


def gelu(x):
  return 0.5 * x * (1 + scipy.special.erf(x / math.sqrt(2)))


def attention(
  p,
  query,
  keys,
  weights,
  hard,
  *,
  table=None,
  heads=1,
  causal=False,
  scale='sqrt',
  transposed=False,
):
  """One graph; `weights` have the self loops, and zeros where nobody talks."""
  n, size = query.shape
  width = size // heads
  q = np.stack([dense(p['query'], row) for row in query])
  k, v = np.split(np.stack([dense(p['key_value'], row) for row in keys]), 2, 1)
  out = np.zeros((n, size))
  for h in range(heads):
    part = slice(h * width, (h + 1) * width)
    for i in range(n):
      scores = np.full(n, -np.inf)
      for j in range(n):
        if weights[i, j] == 0 or (causal and j > i):
          continue
        a, b = q[i, part], k[j, part]
        if table is not None:
          kind = hard[j, i] if transposed else hard[i, j]
          both = dense(p['relation'], np.asarray(table)[int(kind)])
          a, b = a + both[:size][part], b + both[size:][part]
        scores[j] = a @ b / (width if scale == 'double' else math.sqrt(width))
      soft = np.exp(scores - scores.max())
      soft = soft / soft.sum() * weights[i]
      out[i, part] = soft @ v[:, part]
  return np.stack([dense(p['out'], row) for row in out])


def rows(fn, x):
  return np.stack([fn(row) for row in x])


def encoder(p, own, weights, hard, **options):
  """What agents see -> embeddings and values, of one game."""
  table, e = p.get('table'), p['encoder']
  x = rows(lambda r: gelu(dense(e['dense'], norm(e['norm_0'], r))), own)
  x = rows(lambda r: norm(e['norm_1'], r), x)
  i = 0
  while f'block_{i}' in e:
    b = e[f'block_{i}']
    y = attention(b['attention'], x, x, weights, hard, table=table, **options)
    x = rows(lambda r, b=b: norm(b['norm_0'], r), x + y)
    y = np.maximum(dense(b['dense_0'], x), 0.0)
    y = dense(b['dense_1'], y)
    x = rows(lambda r, b=b: norm(b['norm_1'], r), x + y)
    i += 1
  c = p['critic']
  values = [
    dense(c['dense_1'], norm(c['norm'], gelu(dense(c['dense_0'], r))))[0]
    for r in x
  ]
  return x, np.array(values)


def decoder(p, x, actions, size, weights, hard, **options):
  """Logits of A actions after those of agents before, of one game."""
  table, d = p.get('table'), p['decoder']
  n = len(x)
  words = np.zeros((n, size + 1))
  words[0, 0] = 1.0
  for i in range(1, n):
    words[i, actions[i - 1] + 1] = 1.0
  a = rows(lambda r: norm(d['norm'], gelu(dense(d['dense'], r))), words)
  options = options | {'table': table, 'causal': True}
  i = 0
  while f'block_{i}' in d:
    b = d[f'block_{i}']
    y = a + attention(b['attention_0'], a, a, weights, hard, **options)
    y = rows(lambda r, b=b: norm(b['norm_0'], r), y)
    z = x + attention(b['attention_1'], x, y, weights, hard, **options)
    z = rows(lambda r, b=b: norm(b['norm_1'], r), z)
    f = dense(b['dense_1'], gelu(dense(b['dense_0'], z)))
    a = rows(lambda r, b=b: norm(b['norm_2'], r), z + f)
    i += 1
  heads = p['actor']
  out = []
  for i in range(n):
    own = {
      name: {k: np.asarray(v)[i] for k, v in layer.items()}
      for name, layer in heads.items()
    }
    h = gelu(dense(own['dense_0'], norm(own['norm_0'], a[i])))
    out.append(dense(own['dense_1'], norm(own['norm_1'], h)))
  return np.stack(out)
