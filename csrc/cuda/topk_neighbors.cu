#include "cuda/topk_neighbors.h"

#include "kernels/launch.cuh"
#include "kernels/topk_neighbors.cuh"

namespace adtool::cuda {
namespace {

unsigned blocks(int64_t count, int64_t of) {
  return static_cast<unsigned>((count + of - 1) / of);
}

// Whether every row can be read in full packs.
template <class S>
bool packs(const RowSet& rows) {
  constexpr int64_t V = FULL_PACK<S>;
  return rows.depth_stride == 1 && fits_packs<S>(rows.data, rows.depth) && rows.row_stride % V == 0 &&
         rows.matrix_stride % V == 0;
}

}  // namespace

const char* launch_row_scales(Element element, RowSet rows, void* stream) {
  with_storage(element, [&](auto storage) {
    using S = decltype(storage);
    ADTOOL_LAUNCH(blocks(rows.matrices * rows.rows, SEARCH_THREADS / WARP), SEARCH_THREADS, 0, stream,
                  row_scales<S, double>)(rows);
  });
  return launched();
}

const char* launch_similar(RowSet positions, int64_t begin, int64_t end, float* similar, void* stream) {
  const dim3 grid(blocks(positions.rows, TILE), blocks(end - begin, TILE));
  if (packs<double>(positions)) {
    ADTOOL_LAUNCH(grid, SEARCH_THREADS, 0, stream, similar_positions<double, FULL_PACK<double>>)(positions, begin, end,
                                                                                                 similar);
  } else {
    ADTOOL_LAUNCH(grid, SEARCH_THREADS, 0, stream, similar_positions<double, 1>)(positions, begin, end, similar);
  }
  return launched();
}

const char* launch_search(Element element, RowSet queries, RowSet keys, int64_t begin, int64_t end,
                          const float* similar, NeighborLists lists, void* stream) {
  with_storage(element, [&](auto storage) {
    using S = decltype(storage);
    const dim3 grid(static_cast<unsigned>(queries.matrices), blocks(end - begin, TILE));
    if (packs<S>(queries) && packs<S>(keys)) {
      ADTOOL_LAUNCH(grid, SEARCH_THREADS, 0, stream, search_neighbors<S, FULL_PACK<S>>)(queries, keys, begin, end,
                                                                                        similar, lists);
    } else {
      ADTOOL_LAUNCH(grid, SEARCH_THREADS, 0, stream, search_neighbors<S, 1>)(queries, keys, begin, end, similar, lists);
    }
  });
  return launched();
}

const char* launch_settle(Element element, RowSet queries, RowSet keys, RowSet positions, NeighborLists lists,
                          void* stream) {
  with_storage(element, [&](auto storage) {
    using S = decltype(storage);
    ADTOOL_LAUNCH(blocks(queries.matrices * queries.rows, SEARCH_THREADS / WARP), SEARCH_THREADS, 0, stream,
                  settle_neighbors<S, double>)(queries, keys, positions, lists);
  });
  return launched();
}

}  // namespace adtool::cuda
