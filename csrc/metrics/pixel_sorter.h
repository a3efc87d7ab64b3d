// Scores of pixels, kept compactly and sorted once, from which every curve of the metrics follows.
//
// Between two scores of anomalous pixels only the number of normal pixels matters. So normal pixels are kept as bare
// keys in chunks, each chunk is sorted by itself, and the chunks are counted against the distinct anomalous scores:
// sorting stays within the cache, needs no second copy of all scores, and the counts are exact integers.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <utility>
#include <vector>

#include "components.h"
#include "keys.h"
#include "radix_sort.h"

namespace adtool::metrics {

// What happens at each distinct score of anomalous pixels, ascending.
struct Steps {
  std::vector<double> thresholds;
  std::vector<int64_t> normal_below;  // normal pixels with a smaller score
  std::vector<int64_t> normal_tied;   // normal pixels with this score
  std::vector<int64_t> anomalous;     // anomalous pixels with this score
  std::vector<double> overlap;        // sum over regions of the share that is found at this score
};

// Scores of normal pixels.
template <class Score>
class NormalPixels {
 public:
  using Key = typename KeyOf<Score>::Key;
  static constexpr size_t kChunk = size_t{1} << 22;  // keys: sorted mostly in cache, yet few chunks to count

  void append(const Score* scores, size_t count) {
    while (count > 0) {
      if (chunks_.empty() || chunks_.back().size == kChunk) {
        chunks_.push_back({std::unique_ptr<Key[]>(new Key[kChunk]), 0, false});
      }
      Chunk& chunk = chunks_.back();
      const size_t taken = std::min(count, kChunk - chunk.size);
      Key* const keys = chunk.keys.get() + chunk.size;
      for (size_t i = 0; i < taken; ++i) keys[i] = to_key(scores[i]);
      chunk.size += taken, chunk.sorted = false;
      scores += taken, count -= taken;
    }
  }

  // Adds the normal pixels below and at every threshold.
  void count(Steps& steps) {
    std::unique_ptr<Key[]> spare(chunks_.empty() ? nullptr : new Key[kChunk]);
    for (Chunk& chunk : chunks_) {
      if (!chunk.sorted) radix_sort(chunk.keys, spare, chunk.size);
      chunk.sorted = true;
      count_chunk(chunk, steps);
    }
  }

 private:
  struct Chunk {
    std::unique_ptr<Key[]> keys;
    size_t size;
    bool sorted;
  };

  static void count_chunk(const Chunk& chunk, Steps& steps) {
    const Key* const keys = chunk.keys.get();
    size_t i = 0;
    for (size_t j = 0; j < steps.thresholds.size(); ++j) {
      const double threshold = steps.thresholds[j];
      while (i + 8 <= chunk.size && to_score<Score>(keys[i + 7]) < threshold) i += 8;
      while (i < chunk.size && to_score<Score>(keys[i]) < threshold) ++i;
      size_t end = i;
      while (end < chunk.size && to_score<Score>(keys[end]) == threshold) ++end;
      steps.normal_below[j] += i, steps.normal_tied[j] += end - i;
      i = end;
    }
  }

  std::vector<Chunk> chunks_;
};

class PixelSorter {
 public:
  // `scores` and `mask` (0 or 1; null: no anomalous pixel) are row-major; every 8-connected component is a region.
  template <class Score>
  void add(const Score* scores, const uint8_t* mask, int64_t height, int64_t width) {
    const std::vector<Run> runs = mask ? find_runs(mask, height, width) : std::vector<Run>{};
    const std::vector<uint32_t> labels = label_runs(runs, width);
    const size_t first_region = saturation_.size();
    for (size_t i = 0; i < runs.size(); ++i) {
      const size_t region = first_region + labels[i];
      if (region == saturation_.size()) saturation_.push_back(0);
      saturation_[region] += runs[i].end - runs[i].begin;
      for (int64_t at = runs[i].begin; at < runs[i].end; ++at) append_anomalous(scores[at], region, true);
    }
    append_normal(scores, runs, height * width);
  }

  // Regions are `masks`, which may overlap; region k is found once saturation[k] of its pixels are.
  template <class Score>
  void add_channels(const Score* scores, const std::vector<const uint8_t*>& masks,
                    const std::vector<int64_t>& saturation, int64_t height, int64_t width) {
    std::vector<uint8_t> covered(height * width, 0);
    for (size_t k = 0; k < masks.size(); ++k) {
      for (const Run& run : find_runs(masks[k], height, width)) {
        for (int64_t at = run.begin; at < run.end; ++at) {
          append_anomalous(scores[at], saturation_.size(), !covered[at]);
          covered[at] = 1;
        }
      }
      saturation_.push_back(saturation[k]);
    }
    append_normal(scores, find_runs(covered.data(), height, width), height * width);
  }

  int64_t normals() const { return normals_; }
  int64_t regions() const { return saturation_.size(); }

  Steps steps() {
    sort_anomalous();
    Steps steps = anomalous_steps();
    steps.normal_below.resize(steps.thresholds.size());
    steps.normal_tied.resize(steps.thresholds.size());
    normal32_.count(steps);
    normal64_.count(steps);
    return steps;
  }

 private:
  struct Anomalous {
    uint64_t key;
    uint32_t region;
    uint32_t first;  // 1 for the first region that names this pixel, so that a pixel is counted once
  };
  friend uint64_t key_of(const Anomalous& pixel) { return pixel.key; }

  template <class Score>
  NormalPixels<Score>& normal_pixels() {
    if constexpr (sizeof(Score) == sizeof(float))
      return normal32_;
    else
      return normal64_;
  }

  void append_anomalous(double score, size_t region, bool first) {
    anomalous_.push_back({to_key(score), static_cast<uint32_t>(region), first});
  }

  // The pixels outside the runs.
  template <class Score>
  void append_normal(const Score* scores, const std::vector<Run>& runs, int64_t pixels) {
    int64_t at = 0;
    for (const Run& run : runs) {
      append_normal(scores, at, run.begin);
      at = run.end;
    }
    append_normal(scores, at, pixels);
  }

  template <class Score>
  void append_normal(const Score* scores, int64_t begin, int64_t end) {
    normal_pixels<Score>().append(scores + begin, end - begin);
    normals_ += end - begin;
  }

  void sort_anomalous() {
    if (anomalous_.size() > UINT32_MAX) throw std::length_error("more than 2^32 - 1 anomalous pixels");
    std::vector<Anomalous> spare(anomalous_.size());
    radix_sort(anomalous_, spare, anomalous_.size());
  }

  // The steps without the normal pixels. Found pixels of a region count from the largest score on.
  Steps anomalous_steps() const {
    Steps steps;
    std::vector<int64_t> found(saturation_.size(), 0);
    for (size_t i = anomalous_.size(); i-- > 0;) {
      const Anomalous& pixel = anomalous_[i];
      if (i + 1 == anomalous_.size() || anomalous_[i + 1].key != pixel.key) {
        steps.thresholds.push_back(to_score<double>(pixel.key));
        steps.anomalous.push_back(0);
        steps.overlap.push_back(0.0);
      }
      steps.anomalous.back() += pixel.first;
      const int64_t saturation = saturation_[pixel.region];
      if (found[pixel.region]++ < saturation) steps.overlap.back() += 1.0 / saturation;
    }
    std::reverse(steps.thresholds.begin(), steps.thresholds.end());
    std::reverse(steps.anomalous.begin(), steps.anomalous.end());
    std::reverse(steps.overlap.begin(), steps.overlap.end());
    return steps;
  }

  NormalPixels<float> normal32_;
  NormalPixels<double> normal64_;
  std::vector<Anomalous> anomalous_;
  std::vector<int64_t> saturation_;  // of every region, in pixels
  int64_t normals_ = 0;
};

}  // namespace adtool::metrics
