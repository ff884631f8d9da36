#include "base/unique_fd.h"

#include <unistd.h>

namespace halcyon {

void UniqueFd::reset(int fd) {
    if (const int old = std::exchange(fd_, fd); old >= 0) {
        // Linux frees the descriptor even when close() reports an error; a retry could hit
        // another's.
        ::close(old);
    }
}

}  // namespace halcyon
