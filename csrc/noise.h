// Vectors of normal noise for the bodies of the diffusion operators, which walk over samples with it.
#pragma once

// Fused multiply-adds round once where the reference rounds twice. And GCC may mix independent chains of instructions:
// the rounds of Philox and the polynomials are long ones, and take a third less time side by side.
#if defined(__clang__)
#pragma clang fp contract(off)
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=off", "schedule-insns")
#endif

#include "philox.h"
#include "samples.h"
#include "vector.h"

namespace adtool::ADTOOL_BODY {
namespace {

constexpr int NORMALS = LANES<float>;  // of one vector

ADTOOL_INLINE Vec<uint64_t> multiply_low_words(Vec<uint64_t> a, Vec<uint64_t> b) {
#if defined(__x86_64__) && !defined(__clang__) && ADTOOL_VECTOR_BYTES == 64
  typedef long long Result __attribute__((vector_size(64)));
  return bits<Vec<uint64_t>>(
      __builtin_ia32_pmuludq512_mask(bits<Vec<int32_t>>(a), bits<Vec<int32_t>>(b), Result{}, -1));
#elif defined(__x86_64__) && !defined(__clang__) && ADTOOL_VECTOR_BYTES == 32
  return bits<Vec<uint64_t>>(__builtin_ia32_pmuludq256(bits<Vec<int32_t>>(a), bits<Vec<int32_t>>(b)));
#elif defined(__x86_64__) && !defined(__clang__)
  return bits<Vec<uint64_t>>(__builtin_ia32_pmuludq128(bits<Vec<int32_t>>(a), bits<Vec<int32_t>>(b)));
#else
  return (a & 0xffffffffu) * (b & 0xffffffffu);
#endif
}

ADTOOL_INLINE Vec<float> square_root(Vec<float> x) {
#if defined(__x86_64__) && !defined(__clang__) && ADTOOL_VECTOR_BYTES == 64
  return __builtin_ia32_sqrtps512_mask(x, x, -1, 4);
#elif defined(__x86_64__) && !defined(__clang__) && ADTOOL_VECTOR_BYTES == 32
  return __builtin_ia32_sqrtps256(x);
#elif defined(__x86_64__) && !defined(__clang__)
  return __builtin_ia32_sqrtps(x);
#else
  for (int i = 0; i < LANES<float>; ++i) x[i] = __builtin_sqrtf(x[i]);
  return x;
#endif
}

// As many 32-bit words as a vector has, each in the lower half of 64 bits; what lies above it has no meaning.
struct Words {
  Vec<uint64_t> even, odd;
};
ADTOOL_INLINE Words operator^(Words a, Words b) {
  return {a.even ^ b.even, a.odd ^ b.odd};
}
ADTOOL_INLINE Words operator^(Words a, uint32_t key) {
  return {a.even ^ key, a.odd ^ key};
}
ADTOOL_INLINE Words spread(Vec<uint32_t> words) {
  const auto pairs = bits<Vec<uint64_t>>(words);
  return {pairs, pairs >> 32};
}
ADTOOL_INLINE Vec<uint32_t> gathered(Words words) {
  return bits<Vec<uint32_t>>((words.even & 0xffffffffu) | (words.odd << 32));
}

struct VectorArithmetic {
  using Word = Words;
  using Product = Words;
  using Bits = Vec<uint32_t>;
  using Integer = Vec<int32_t>;
  using Real = Vec<float>;

  static ADTOOL_INLINE Words product(Words words, uint32_t factor) {
    const Vec<uint64_t> factors = broadcast<uint64_t>(factor);
    return {multiply_low_words(words.even, factors), multiply_low_words(words.odd, factors)};
  }
  static ADTOOL_INLINE Words high(Words product) { return {product.even >> 32, product.odd >> 32}; }
  static ADTOOL_INLINE Words low(Words product) { return product; }

  template <class To, class From>
  static ADTOOL_INLINE To as(From value) {
    return bits<To>(value);
  }
  static ADTOOL_INLINE Real real(Integer value) { return __builtin_convertvector(value, Real); }
  template <class B>
  static ADTOOL_INLINE Real add(Real a, B b) {
    return a + b;
  }
  template <class B>
  static ADTOOL_INLINE Real subtract(Real a, B b) {
    return a - b;
  }
  template <class B>
  static ADTOOL_INLINE Real multiply(Real a, B b) {
    return a * b;
  }
  static ADTOOL_INLINE Real root(Real a) { return square_root(a); }
};

// Of each four lanes of a and b: a[from] b[from] a[from + 1] b[from + 1], and a[from] a[from + 1] b[from] b[from + 1].
template <int FROM, int... I>
ADTOOL_INLINE Vec<float> alternate(Vec<float> a, Vec<float> b, Sequence<I...>) {
  return __builtin_shufflevector(a, b, ((I & ~3) + FROM + (I & 3) / 2 + I % 2 * NORMALS)...);
}
template <int FROM, int... I>
ADTOOL_INLINE Vec<float> join(Vec<float> a, Vec<float> b, Sequence<I...>) {
  return __builtin_shufflevector(a, b, ((I & ~3) + FROM + I % 2 + (I & 3) / 2 * NORMALS)...);
}

struct Random {
  Vec<uint32_t> word[4];  // lanes are blocks
};

// The random words of NORMALS blocks of a stream from `block` on, in the order that `normals` needs.
ADTOOL_INLINE Random draw(Stream stream, uint32_t block) {
  Vec<uint32_t> blocks;
  for (int i = 0; i < NORMALS; ++i) blocks[i] = static_cast<uint32_t>(NORMALS / 4 * (i % 4) + i / 4);
  const auto same = [](uint32_t word) { return spread(broadcast<uint32_t>(word)); };
  Words words[4] = {spread(blocks + block), same(stream.t), same(static_cast<uint32_t>(stream.sample_id)),
                    same(static_cast<uint32_t>(stream.sample_id >> 32))};
  philox<VectorArithmetic>(words, stream.seed);
  return {{gathered(words[0]), gathered(words[1]), gathered(words[2]), gathered(words[3])}};
}

// z[0], z[1], ...: the 4 NORMALS normals of random words, in order. Four lanes, each with a block of its own, are
// transposed to give the four normals of a block; the first, second, third and fourth of each four lanes follow.
ADTOOL_INLINE void normals(const Random& random, Vec<float> (&z)[4]) {
  using All = typename sequence_to<NORMALS>::type;
  Vec<float> n[4];
  box_muller<VectorArithmetic>(random.word[0], random.word[1], n[0], n[1]);
  box_muller<VectorArithmetic>(random.word[2], random.word[3], n[2], n[3]);
  const Vec<float> a = alternate<0>(n[0], n[1], All{}), b = alternate<2>(n[0], n[1], All{});
  const Vec<float> c = alternate<0>(n[2], n[3], All{}), d = alternate<2>(n[2], n[3], All{});
  z[0] = join<0>(a, c, All{});
  z[1] = join<2>(a, c, All{});
  z[2] = join<0>(b, d, All{});
  z[3] = join<2>(b, d, All{});
}

// ---- walking over a sample: visit(offset in memory, noise of the elements there, how many of them) ----

// Visits n <= NORMALS elements with their noise as vectors of T.
template <class T, class Visit>
ADTOOL_INLINE void visit_vector(int64_t offset, Vec<float> z, int64_t n, const Visit& visit) {
  if constexpr (LANES<T> == NORMALS) {
    visit(offset, z, n);
  } else {
    const auto halves = bits<Pair<Lanes<float, LANES<T>>>>(z);
    visit(offset, __builtin_convertvector(halves.low, Vec<T>), n < LANES<T> ? n : LANES<T>);
    if (n > LANES<T>) visit(offset + LANES<T>, __builtin_convertvector(halves.high, Vec<T>), n - LANES<T>);
  }
}

template <class T, class Visit>
ADTOOL_INLINE void visit_chunk(Stream stream, bool noisy, int64_t begin, int64_t end, const Visit& visit) {
  Random next = {};
  if (noisy) next = draw(stream, static_cast<uint32_t>(begin / 4));
  for (int64_t i = begin; i < end; i += 4 * NORMALS) {
    // The next words are drawn before these are used: rounds wait for one another, and the processor fills the gaps.
    const Random random = next;
    Vec<float> z[4] = {};
    if (noisy) {
      next = draw(stream, static_cast<uint32_t>(i / 4) + NORMALS);
      normals(random, z);
    }
    if (end - i >= 4 * NORMALS) {
      for (int j = 0; j < 4; ++j) visit_vector<T>(i + j * NORMALS, z[j], NORMALS, visit);
    } else {
      for (int64_t j = 0; i + j * NORMALS < end; ++j) {
        const int64_t left = end - i - j * NORMALS;
        visit_vector<T>(i + j * NORMALS, z[j], left < NORMALS ? left : NORMALS, visit);
      }
    }
  }
}

// The noise of `pixels` pixels of one channel, from `element` on, to every `channels`-th place.
ADTOOL_INLINE void draw_channel(Stream stream, int64_t element, int64_t pixels, float* to, int64_t channels) {
  float line[4 * NORMALS];
  for (int64_t p = -(element % 4); p < pixels; p += 4 * NORMALS) {
    Vec<float> z[4];
    normals(draw(stream, static_cast<uint32_t>((element + p) / 4)), z);
    for (int j = 0; j < 4; ++j) store(line + j * NORMALS, z[j]);
    const int64_t from = p < 0 ? -p : 0, end = pixels - p < 4 * NORMALS ? pixels - p : 4 * NORMALS;
    for (int64_t i = from; i < end; ++i) to[(p + i) * channels] = line[i];
  }
}

template <class T, class Visit>
ADTOOL_INLINE void visit_tile(Stream stream, bool noisy, Samples samples, int64_t tile, const Visit& visit) {
  const auto smaller = [](int64_t a, int64_t b) { return a < b ? a : b; };
  const int64_t channel = tile % samples.channel_tiles() * TILE_CHANNELS;
  const int64_t pixel = tile / samples.channel_tiles() * TILE_PIXELS;
  const int64_t channels = smaller(TILE_CHANNELS, samples.channels - channel);
  const int64_t pixels = smaller(TILE_PIXELS, samples.pixels - pixel);
  float noise[TILE_PIXELS * TILE_CHANNELS + NORMALS] = {};  // (pixels, channels), and room for a last vector
  for (int64_t c = 0; noisy && c < channels; ++c) {
    draw_channel(stream, (channel + c) * samples.pixels + pixel, pixels, noise + c, channels);
  }
  const bool all = channels == samples.channels;  // then the tile has no gaps
  const int64_t runs = all ? 1 : pixels, length = all ? pixels * channels : channels;
  for (int64_t run = 0; run < runs; ++run) {
    const int64_t first = (pixel + run) * samples.channels + channel;
    for (int64_t i = 0; i < length; i += NORMALS) {
      visit_vector<T>(first + i, load(noise + run * length + i), smaller(NORMALS, length - i), visit);
    }
  }
}

// Calls `sample(n, walk)` for the work items [begin, end); walk(noisy, visit) visits the item's share of sample n in
// vectors of T, with noise or with zeros.
template <class T, class Sample>
ADTOOL_INLINE void for_samples(Samples samples, Draws draws, int64_t begin, int64_t end, const Sample& sample) {
  const int64_t items = samples.items_per_sample();
  for (int64_t item = begin; item < end; ++item) {
    const int64_t n = item / items, part = item % items, first = part * CHUNK;
    const Stream stream = {draws.seed, static_cast<uint64_t>(draws.sample_id[n]),
                           static_cast<uint32_t>(draws.sign * draws.t[n])};
    sample(n, [=](bool noisy, const auto& visit) __attribute__((always_inline)) {
      if (samples.channels_last) {
        visit_tile<T>(stream, noisy, samples, part, visit);
      } else {
        visit_chunk<T>(stream, noisy, first, first + CHUNK < samples.elements() ? first + CHUNK : samples.elements(),
                       visit);
      }
    });
  }
}

}  // namespace
}  // namespace adtool::ADTOOL_BODY
