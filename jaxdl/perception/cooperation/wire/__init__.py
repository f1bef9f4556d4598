# SPDX-License-Identifier: Apache-2.0
"""What sending takes: bits, prices, compression, and who hears whom.

- `bandwidth_bits` of a mask, `mbps`, `bandwidth_report`; `sent_share` is
  differentiable.
- `lambda_schedule` and `PENALTIES`: the price of bits in a loss.
- `quantize` on the device, `compress`, `decompress`, `compress_size` on the
  host; `compressed` sends channels by any compressor of `jaxdl.compression`.
  `make_codec` makes one of `CODECS` by name.
- `lossy_links` are those of any mixer of `jaxdl.mixing`, with agents and links
  that fail; `make_links` makes one of `LINKS` by name.
"""

from jaxdl.perception.cooperation.wire._bandwidth import (
  PENALTIES,
  bandwidth_bits,
  bandwidth_report,
  lambda_schedule,
  mbps,
  sent_share,
)
from jaxdl.perception.cooperation.wire._compression import (
  Codec,
  compress,
  compress_size,
  decompress,
  num_levels,
  quantize,
)
from jaxdl.perception.cooperation.wire._links import (
  CODECS,
  LINKS,
  check_links,
  compressed,
  lossy_links,
  make_codec,
  make_links,
)

__all__ = [
  'CODECS',
  'Codec',
  'LINKS',
  'PENALTIES',
  'bandwidth_bits',
  'bandwidth_report',
  'check_links',
  'compress',
  'compress_size',
  'compressed',
  'decompress',
  'lambda_schedule',
  'lossy_links',
  'make_codec',
  'make_links',
  'mbps',
  'num_levels',
  'quantize',
  'sent_share',
]
