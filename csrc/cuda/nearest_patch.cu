#include "cuda/nearest_patch.h"

#include <type_traits>

#include "kernels/launch.cuh"
#include "kernels/nearest_patch.cuh"

namespace adtool::cuda {
namespace {

constexpr int64_t BLOCKS = 4;  // of a multiprocessor: two at a time, twice

unsigned blocks(int64_t count, int64_t of) {
  return static_cast<unsigned>((count + of - 1) / of);
}

template <class S>
bool packs(const Rows& rows) {
  return fits_packs<S>(rows.data, rows.depth) && rows.stride % FULL_PACK<S> == 0;
}

// Calls function(storage, V) with the C++ type of the elements and how many are read at once.
template <class Function>
void with_packs(const Rows& rows, const Rows& others, const Function& function) {
  with_storage(rows.element, [&](auto storage) {
    using S = decltype(storage);
    if (packs<S>(rows) && packs<S>(others)) {
      function(storage, std::integral_constant<int, FULL_PACK<S>>());
    } else {
      function(storage, std::integral_constant<int, 1>());
    }
  });
}

}  // namespace

int64_t bank_shares(int64_t patches, int64_t bank) {
  int device = 0, processors = 1;
  cudaGetDevice(&device);
  cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device);
  const int64_t tiles = blocks(bank, BANK_ROWS), wanted = BLOCKS * processors / blocks(patches, PATCHES);
  return wanted < 1 ? 1 : wanted < tiles ? wanted : tiles;
}

const char* launch_bank_squares(Rows bank, BankSquares squares, void* stream) {
  with_packs(bank, bank, [&](auto storage, auto width) {
    ADTOOL_LAUNCH(blocks(bank.count, SEARCH_WARPS), SEARCH_THREADS, 0, stream,
                  square_bank<decltype(storage), decltype(width)::value, double>)(bank, squares);
  });
  return launched();
}

const char* launch_search(Rows patches, Rows bank, BankSquares squares, NearestLists lists, void* stream) {
  with_packs(patches, bank, [&](auto storage, auto width) {
    using S = decltype(storage);
    constexpr int V = decltype(width)::value;
    ADTOOL_LAUNCH(blocks(patches.count, SEARCH_WARPS), SEARCH_THREADS, 0, stream, start_lists<S, V, double>)
    (patches, squares.largest, lists);
    const dim3 grid(blocks(patches.count, TILE), static_cast<unsigned>(lists.shares));
    ADTOOL_LAUNCH(grid, SEARCH_THREADS, 0, stream, search_bank<S, V>)(patches, bank, squares.of_row, lists);
  });
  return launched();
}

const char* launch_settle(Rows patches, Rows bank, NearestLists lists, void* distance, int64_t* index, void* stream) {
  with_packs(patches, bank, [&](auto storage, auto width) {
    using S = decltype(storage);
    ADTOOL_LAUNCH(blocks(patches.count, SEARCH_WARPS), SEARCH_THREADS, 0, stream,
                  settle_patches<S, decltype(width)::value, double>)
    (patches, bank, lists, static_cast<Compute<S>*>(distance), index);
  });
  return launched();
}

}  // namespace adtool::cuda
