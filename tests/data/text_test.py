# SPDX-License-Identifier: Apache-2.0
"""Text as bytes: prose, made-up reviews, prompts, tsv files."""

import pathlib
import tempfile

import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import data


class TextTest(parameterized.TestCase):
  def test_python_text_is_prose(self):
    text = data.python_text(20_000)
    self.assertLen(text, 20_000)
    self.assertEqual(text, data.python_text(40_000)[:20_000])
    self.assertGreater(text.count(b' the '), 100)
    self.assertLess(max(text), 128)

  def test_reviews_agree_with_their_label(self):
    texts, labels = data.sentiment_reviews(
      np.random.default_rng(0), 400, num_sentences=2
    )
    self.assertEqual(labels.sum(), 200)
    last = [
      {
        t.rsplit(b' ', 1)[1]
        for t, y in zip(texts, labels, strict=True)
        if y == c
      }
      for c in (0, 1)
    ]
    self.assertEmpty(last[0] & last[1])
    self.assertIn(b'dull.', last[0])
    self.assertIn(b'superb.', last[1])

  def test_prompts_ask_for_one_byte(self):
    texts = [b'good', b'a long review indeed']
    batch = data.prompt_tokens(texts, np.array([1, 0]), length=20)
    for n, (ending, label) in enumerate(((b'good', b'p'), (b'indeed', b'n'))):
      (at,) = np.flatnonzero(batch['labels'][n] >= 0)
      shown = bytes(batch['inputs'][n, : at + 1].astype(np.uint8))
      self.assertEndsWith(shown, ending + data.SENTIMENT_PROMPT)
      self.assertEqual(bytes([batch['labels'][n, at]]), label)
      self.assertEqual(batch['inputs'][n, at + 1 :].sum(), 0)

  @parameterized.parameters(
    ({'length': 5}, 'length'),
    ({'words': (b'pos', b'poor')}, 'different bytes'),
    ({'labels': np.array([2])}, r'\[0, 2\)'),
    ({'labels': np.array([0, 1])}, 'shape'),
  )
  def test_bad_prompts(self, options, message):
    options = {'labels': np.array([1]), 'length': 30, **options}
    with self.assertRaisesRegex(ValueError, message):
      data.prompt_tokens([b'fine'], **options)

  def test_sst2_files(self):
    with tempfile.TemporaryDirectory() as folder:
      place = pathlib.Path(folder)
      with self.assertRaisesRegex(ValueError, 'train.tsv does not exist'):
        data.load_sst2(folder)
      (place / 'train.tsv').write_text('sentence\tlabel\na fine film \t1\n')
      (place / 'dev.tsv').write_text('sentence\tlabel\nso dull\t0\nno\t0\n')
      train, dev = data.load_sst2(folder)
      self.assertEqual(train[0], [b'a fine film'])
      self.assertEqual(dev[1].tolist(), [0, 0])
      (place / 'dev.tsv').write_text('sentence\tlabel\nso dull\t3\n')
      with self.assertRaisesRegex(ValueError, 'dev.tsv, line 2'):
        data.load_sst2(folder)


if __name__ == '__main__':
  absltest.main()
