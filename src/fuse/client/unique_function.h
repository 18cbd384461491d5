// UniqueFunction: a callable with one owner, moved but never copied, kept in place up to kCapacity bytes so
// that the usual completion costs no allocation. A value; as thread-safe as what it holds.
#pragma once

#include <cstddef>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

#include "base/check.h"

namespace baton {

template <class Signature, std::size_t kCapacity = 64>
class UniqueFunction;

template <class R, class... Args, std::size_t kCapacity>
class UniqueFunction<R(Args...), kCapacity> {
 public:
  UniqueFunction() = default;
  UniqueFunction(std::nullptr_t) {}
  template <class F>
  requires(!std::is_same_v<std::remove_cvref_t<F>, UniqueFunction> &&
           std::is_invocable_r_v<R, std::decay_t<F>&, Args...>) UniqueFunction(F&& callable) {
    using Held = std::decay_t<F>;
    if constexpr (kInPlace<Held>) {
      ::new (storage_) Held(std::forward<F>(callable));
      kind_ = &kKindInPlace<Held>;
    } else {
      ::new (storage_) std::unique_ptr<Held>(std::make_unique<Held>(std::forward<F>(callable)));
      kind_ = &kKindOnHeap<Held>;
    }
  }
  UniqueFunction(UniqueFunction&& other) noexcept { MoveFrom(other); }
  UniqueFunction& operator=(UniqueFunction&& other) noexcept {
    if (this != &other) {
      Reset();
      MoveFrom(other);
    }
    return *this;
  }
  ~UniqueFunction() { Reset(); }

  explicit operator bool() const { return kind_ != nullptr; }
  R operator()(Args... args) {
    BATON_CHECK(kind_ != nullptr);
    return kind_->invoke(storage_, std::forward<Args>(args)...);
  }
  void Reset() {
    if (kind_ != nullptr) std::exchange(kind_, nullptr)->destroy(storage_);
  }

 private:
  struct Kind {
    R (*invoke)(void*, Args...);
    void (*move)(void* from, void* to);  // and destroys `from`
    void (*destroy)(void*);
  };
  template <class Held>
  static constexpr bool kInPlace =
      sizeof(Held) <= kCapacity &&
      alignof(Held) <= alignof(std::max_align_t) && std::is_nothrow_move_constructible_v<Held>;
  template <class Stored>
  static void Move(void* from, void* to) {
    ::new (to) Stored(std::move(*static_cast<Stored*>(from)));
    static_cast<Stored*>(from)->~Stored();
  }
  template <class Stored>
  static void Destroy(void* at) {
    static_cast<Stored*>(at)->~Stored();
  }
  template <class Held>
  static constexpr Kind kKindInPlace{
      [](void* at, Args... args) -> R { return (*static_cast<Held*>(at))(std::forward<Args>(args)...); },
      &Move<Held>, &Destroy<Held>};
  template <class Held>
  static constexpr Kind kKindOnHeap{
      [](void* at, Args... args) -> R {
        return (**static_cast<std::unique_ptr<Held>*>(at))(std::forward<Args>(args)...);
      },
      &Move<std::unique_ptr<Held>>, &Destroy<std::unique_ptr<Held>>};

  void MoveFrom(UniqueFunction& other) noexcept {
    kind_ = std::exchange(other.kind_, nullptr);
    if (kind_ != nullptr) kind_->move(other.storage_, storage_);
  }

  alignas(std::max_align_t) std::byte storage_[kCapacity];
  const Kind* kind_ = nullptr;
};

}  // namespace baton
