// Doubly linked list whose links live in the elements: O(1) insert and unlink, no allocation.
#pragma once

#include <cstddef>

namespace dragoman {

/// One link. An element derives from ListLink<Tag> once for each list it can be in. Its destructor unlinks it.
template <class Tag = void>
class ListLink {
 public:
  ListLink() = default;
  ListLink(const ListLink&) = delete;
  ListLink& operator=(const ListLink&) = delete;
  ~ListLink() { unlink(); }

  bool linked() const { return next_ != nullptr; }
  void unlink() {
    if (!next_) return;
    prev_->next_ = next_;
    next_->prev_ = prev_;
    next_ = prev_ = nullptr;
  }

 private:
  template <class, class>
  friend class IntrusiveList;
  ListLink* next_ = nullptr;
  ListLink* prev_ = nullptr;
};

/// T must derive from ListLink<Tag>. The list owns nothing.
template <class T, class Tag = void>
class IntrusiveList {
  using Link = ListLink<Tag>;

 public:
  IntrusiveList() { root_.next_ = root_.prev_ = &root_; }
  ~IntrusiveList() {
    clear();
    root_.next_ = root_.prev_ = nullptr;
  }
  IntrusiveList(const IntrusiveList&) = delete;
  IntrusiveList& operator=(const IntrusiveList&) = delete;

  bool empty() const { return root_.next_ == &root_; }
  T* front() { return empty() ? nullptr : static_cast<T*>(root_.next_); }
  T* back() { return empty() ? nullptr : static_cast<T*>(root_.prev_); }
  /// An element that is in a list already moves.
  void push_back(T& item) {
    static_cast<Link&>(item).unlink();  // first: it may be the one after which it goes
    insert(root_.prev_, item);
  }
  void push_front(T& item) {
    static_cast<Link&>(item).unlink();
    insert(&root_, item);
  }
  T* pop_front() {
    T* item = front();
    if (item) static_cast<Link*>(item)->unlink();
    return item;
  }
  /// The element after `item`, or null at the end.
  T* next(T& item) {
    Link* link = static_cast<Link&>(item).next_;
    return link == &root_ ? nullptr : static_cast<T*>(link);
  }
  /// The element before `item`, or null at the beginning.
  T* previous(T& item) {
    Link* link = static_cast<Link&>(item).prev_;
    return link == &root_ ? nullptr : static_cast<T*>(link);
  }
  /// Moves all elements of `other` to the end of this list.
  void splice(IntrusiveList& other) {
    while (T* item = other.pop_front()) push_back(*item);
  }
  void clear() {
    while (pop_front()) {
    }
  }
  /// O(n).
  size_t count() const {
    size_t n = 0;
    for (Link* l = root_.next_; l != &root_; l = l->next_) ++n;
    return n;
  }

 private:
  void insert(Link* after, T& item) {
    Link& link = item;
    link.next_ = after->next_;
    link.prev_ = after;
    after->next_->prev_ = &link;
    after->next_ = &link;
  }
  mutable Link root_;
};

}  // namespace dragoman
