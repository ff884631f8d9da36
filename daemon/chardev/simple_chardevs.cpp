// The back ends without a life of their own: null and file; and the factory of all kinds.

#include <fcntl.h>

#include <cstring>
#include <utility>

#include "base/log.h"
#include "daemon/chardev/kinds.h"

namespace halcyon {

NullChardev::NullChardev(std::string id, MainLoop& loop) : Chardev(std::move(id), loop) {
    open_sink();
}

Result<std::unique_ptr<Chardev>> FileChardev::create(std::string id,
                                                     const FileChardevOptions& options,
                                                     MainLoop& loop) {
    // Non-blocking matters for a FIFO or a device; a FIFO that nobody reads is refused.
    const int flags = O_WRONLY | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK |
                      (options.append ? O_APPEND : O_TRUNC);
    UniqueFd file(::open(options.path.c_str(), flags, 0666));
    if (!file) {
        return Error::from_errno("cannot open '" + options.path + "'");
    }
    auto chardev = std::unique_ptr<FileChardev>(new FileChardev(std::move(id), loop));
    TRY(chardev->open_stream(UniqueFd(), std::move(file)));
    return std::unique_ptr<Chardev>(std::move(chardev));
}

void FileChardev::on_output_error(int error) {
    spdlog::warn("chardev '{}': {}; further output is discarded", id(), strerror(error));
}

namespace {

struct ChardevFactory {
    const ChardevOptions& options;
    MainLoop& loop;

    Result<std::unique_ptr<Chardev>> operator()(const NullChardevOptions&) const {
        return std::unique_ptr<Chardev>(std::make_unique<NullChardev>(options.id, loop));
    }
    Result<std::unique_ptr<Chardev>> operator()(const SocketChardevOptions& socket) const {
        return SocketChardev::create(options.id, socket, loop);
    }
    Result<std::unique_ptr<Chardev>> operator()(const StdioChardevOptions& stdio) const {
        return StdioChardev::create(options.id, stdio, loop);
    }
    Result<std::unique_ptr<Chardev>> operator()(const FileChardevOptions& file) const {
        return FileChardev::create(options.id, file, loop);
    }
    Result<std::unique_ptr<Chardev>> operator()(const PtyChardevOptions&) const {
        return PtyChardev::create(options.id, loop);
    }
};

}  // namespace

Result<std::unique_ptr<Chardev>> create_chardev(const ChardevOptions& options, MainLoop& loop) {
    Result<std::unique_ptr<Chardev>> chardev =
        std::visit(ChardevFactory{options, loop}, options.kind);
    if (!chardev) {
        return std::move(chardev).error().with_context(options.origin);
    }
    return chardev;
}

}  // namespace halcyon
