// Clusters that left the configuration live as long as something that was made before may point to them.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <utility>
#include <vector>

#include "proxy/upstream/cluster.h"

namespace dragoman {

/// Of one worker. An era is the time between two changes of the clusters. Whoever points to clusters without holding each of
/// them is of the era in which all of them were there, and moves on when it still uses none but those that stay.
class ClusterEras {
 public:
  /// One that points to clusters; of no era when made by default.
  class Member {
   public:
    Member() = default;
    Member(Member&& other) noexcept : eras_(std::exchange(other.eras_, nullptr)), era_(other.era_) {}
    Member& operator=(Member&& other) noexcept {
      std::swap(eras_, other.eras_);
      std::swap(era_, other.era_);
      return *this;
    }
    ~Member() {
      if (eras_) eras_->leave(era_);
    }

   private:
    friend class ClusterEras;
    Member(ClusterEras* eras, uint64_t era) : eras_(eras), era_(era) {}
    ClusterEras* eras_ = nullptr;
    uint64_t era_ = 0;
  };

  /// `over` takes clusters that nothing points to any more.
  explicit ClusterEras(std::function<void(std::vector<Ref<Cluster>>)> over) : over_(std::move(over)) {}

  /// A member of the present era.
  Member join() {
    ++eras_.back().members;
    return Member(this, first_ + eras_.size() - 1);
  }
  /// The present era ends, and `gone` with it, when it has no members. Without memory nothing has happened.
  void next(std::vector<Ref<Cluster>>&& gone) {
    eras_.emplace_back();
    eras_[eras_.size() - 2].gone = std::move(gone);
    sweep();
  }
  size_t size() const { return eras_.size(); }

 private:
  struct Era {
    size_t members = 0;
    std::vector<Ref<Cluster>> gone;  // at its end
  };
  void leave(uint64_t era) {
    --eras_[era - first_].members;
    sweep();
  }
  void sweep() {
    while (eras_.size() > 1 && eras_.front().members == 0) {
      std::vector<Ref<Cluster>> gone = std::move(eras_.front().gone);
      eras_.pop_front();
      ++first_;
      if (!gone.empty()) over_(std::move(gone));
    }
  }

  std::function<void(std::vector<Ref<Cluster>>)> over_;
  std::deque<Era> eras_{1};
  uint64_t first_ = 0;  // number of the front one
};

}  // namespace dragoman
