/// Pidfile: -pidfile.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace halcyon {

/// A file with the process's id, locked for as long as this lives and removed at its end. The lock
/// tells a living owner from a file that was left behind. Main thread.
class Pidfile {
public:
    /// Fails when another process holds the file, with that process's id.
    static Result<std::unique_ptr<Pidfile>> create(const std::string& path);
    ~Pidfile();
    Pidfile(const Pidfile&) = delete;
    Pidfile& operator=(const Pidfile&) = delete;

private:
    Pidfile(std::string path, UniqueFd file) : path_(std::move(path)), file_(std::move(file)) {}

    std::string path_;  ///< absolute: the working directory may change
    UniqueFd file_;
};

}  // namespace halcyon
