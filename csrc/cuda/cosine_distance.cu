#include "cuda/cosine_distance.h"

#include <initializer_list>

#include "kernels/cosine_distance.cuh"
#include "kernels/launch.cuh"

namespace adtool::cuda {
namespace {

// Calls `launch<V, ACROSS>(blocks, planes)` with the elements per access, and the axis they lie along, that suit
// `planes` and everything that lies so; images of one pixel lie either way.
template <class S, class Launch>
const char* with_geometry(Planes planes, std::initializer_list<const void*> features, const Launch& launch) {
  constexpr int V = FULL_PACK<S>;
  const int64_t pixels = planes.images * planes.pixels;
  if (pixels == 0) return nullptr;
  planes.channels_last = planes.channels_last || planes.pixels == 1;
  bool packs = true;
  for (const void* each : features) {
    packs = packs && fits_packs<S>(each, planes.channels_last ? planes.channels : planes.pixels);
  }
  const auto geometry = [&]<int W, bool ACROSS>() {
    constexpr int64_t EACH = Share<S, W, ACROSS>::PIXELS;
    launch.template operator()<W, ACROSS>(static_cast<unsigned>((pixels + EACH - 1) / EACH), planes);
  };
  if (planes.channels_last) {
    packs ? geometry.template operator()<V, false>() : geometry.template operator()<1, false>();
  } else {
    packs ? geometry.template operator()<V, true>() : geometry.template operator()<1, true>();
  }
  return launched();
}

}  // namespace

const char* launch_cosine_distance_forward(Element element, const void* teacher, const void* student, void* out,
                                           Planes given, void* stream) {
  const char* error = nullptr;
  with_storage(element, [&](auto storage) {
    using S = decltype(storage);
    error = with_geometry<S>(given, {teacher, student}, [&]<int V, bool ACROSS>(unsigned blocks, Planes planes) {
      ADTOOL_LAUNCH(blocks, DISTANCE_THREADS, 0, stream, cosine_distance_forward<S, V, ACROSS, double>)(
          static_cast<const S*>(teacher), static_cast<const S*>(student), static_cast<Compute<S>*>(out), planes);
    });
  });
  return error;
}

const char* launch_cosine_distance_backward(Element element, const void* grad, const void* teacher, const void* student,
                                            void* teacher_grad, void* student_grad, Planes given, void* stream) {
  const char* error = nullptr;
  with_storage(element, [&](auto storage) {
    using S = decltype(storage);
    const auto launch = [&]<int V, bool ACROSS>(unsigned blocks, Planes planes) {
      ADTOOL_LAUNCH(blocks, DISTANCE_THREADS, 0, stream, cosine_distance_backward<S, V, ACROSS, double>)(
          static_cast<const Compute<S>*>(grad), static_cast<const S*>(teacher), static_cast<const S*>(student),
          static_cast<S*>(teacher_grad), static_cast<S*>(student_grad), planes);
    };
    error = with_geometry<S>(given, {teacher, student, teacher_grad, student_grad}, launch);
  });
  return error;
}

}  // namespace adtool::cuda
