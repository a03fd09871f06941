#pragma once
// Not in the wheel; its name is all that is needed.
namespace highwayhash {
template <unsigned T>
class HighwayHashCatT {
  alignas(32) char state_[1024];
};
}  // namespace highwayhash
