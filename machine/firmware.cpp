#include "machine/firmware.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/types.h"
#include "base/unique_fd.h"

namespace halcyon {

namespace {

/// The unit of PC firmware: the E0000h and F0000h segments are filled from the image's end.
constexpr uint64_t kFirmwareUnit = 64_KiB;

Result<uint64_t> firmware_size(int fd, const std::string& path) {
    struct stat status {};
    if (::fstat(fd, &status) != 0) {
        return Error::from_errno("-bios: cannot examine '" + path + "'");
    }
    if (!S_ISREG(status.st_mode)) {
        return Error("-bios: '" + path + "' is not a regular file", ErrorCode::kInvalidArgument);
    }
    const auto size = static_cast<uint64_t>(status.st_size);
    if (size == 0 || size % kFirmwareUnit != 0 || size > kMaxFirmwareSize) {
        return Error("-bios: '" + path + "' has " + std::to_string(size) +
                         " bytes; a firmware image has a multiple of 64 KiB, at most " +
                         std::to_string(kMaxFirmwareSize >> 20) + " MiB",
                     ErrorCode::kInvalidArgument);
    }
    return size;
}

}  // namespace

Result<Mapping> load_firmware(const std::string& path) {
    const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (!file) {
        return Error::from_errno("-bios: cannot open '" + path + "'");
    }
    const uint64_t size = TRY(firmware_size(file.get(), path));
    auto image = TRY(Mapping::anonymous(size, "firmware '" + path + "'"));
    for (size_t done = 0; done < size;) {
        const ssize_t count =
            ::pread(file.get(), image.data() + done, size - done, static_cast<off_t>(done));
        if (count < 0 && errno != EINTR) {
            return Error::from_errno("-bios: cannot read '" + path + "'");
        }
        if (count == 0) {
            return Error("-bios: '" + path + "' became shorter while it was read");
        }
        done += count > 0 ? static_cast<size_t>(count) : 0;
    }
    return image;
}

}  // namespace halcyon
