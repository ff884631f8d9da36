#include "daemon/qom/user_objects.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <utility>

#include "base/unique_fd.h"
#include "daemon/commands/base64.h"
#include "daemon/options/values.h"

namespace halcyon::qom {

namespace {

/// The largest file that is read for a secret: more than any key or password.
constexpr size_t kMaxFile = 1024 * 1024;

Result<std::string> read_file(const std::string& path) {
    const auto fail = [&](const std::string& what) {
        return Error::from_errno("Unable to read " + path + ": " + what + " file \u201c" + path +
                                 "\u201d");
    };
    // Without O_NONBLOCK a FIFO would hold up everybody until somebody writes to it.
    const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
    if (!fd) {
        return fail("Failed to open");
    }
    std::string content;
    std::array<char, 4096> piece{};
    while (true) {
        const ssize_t count = ::read(fd.get(), piece.data(), piece.size());
        if (count < 0 && errno != EINTR) {
            return fail("Error reading");
        }
        if (count == 0) {
            return content;
        }
        content.append(piece.data(), static_cast<size_t>(std::max<ssize_t>(count, 0)));
        if (content.size() > kMaxFile) {
            return Error("Unable to read " + path + ": it is larger than 1 MiB");
        }
    }
}

Result<std::string> decode(const std::string& text) {
    std::optional<std::string> bytes = decode_base64(text);
    if (!bytes) {
        return Error("Base64 data contains invalid characters");
    }
    return *std::move(bytes);
}

}  // namespace

Result<void> UserObjects::add_secret(const std::string& id, SecretSettings settings) {
    if (!is_identifier(id)) {
        return Error("Parameter 'id' expects an identifier");
    }
    if (settings.file && settings.data) {
        return Error("'file' and 'data' are mutually exclusive");
    }
    if (!settings.file && !settings.data) {
        return Error("Either 'file' or 'data' must be provided");
    }
    std::string bytes = settings.file ? TRY(read_file(*settings.file)) : *settings.data;
    if (settings.format == SecretFormat::kBase64) {
        bytes = TRY(decode(bytes));
    }
    if (!secrets_.try_emplace(id, std::move(settings), std::move(bytes)).second) {
        return Error("attempt to add duplicate property '" + id + "' to object (type 'container')");
    }
    return {};
}

Result<void> UserObjects::remove(const std::string& id) {
    if (secrets_.erase(id) == 0) {
        return Error("object '" + id + "' not found");
    }
    return {};
}

}  // namespace halcyon::qom
