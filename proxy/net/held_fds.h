// Descriptors that are held back for who must be reached when the process has no others: the admin port. They come before everything
// else: while one is missing, no connection is accepted or made, so that whatever closes fills them up first.
#pragma once

namespace dragoman {

/// Holds back `n` more (or fewer), process-wide. Any thread.
void hold_back_fds(int n);
/// Fills them up; false when one can't be had: then whoever is not worth a held one must do without. Any thread; one relaxed load where
/// all are there.
bool fds_are_held_back();
/// Gives one up for a call that failed with EMFILE or ENFILE; false when there is none.
bool spend_held_fd();

}  // namespace dragoman
