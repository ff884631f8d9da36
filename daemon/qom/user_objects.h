/// UserObjects: what clients made with object-add.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "base/result.h"

namespace halcyon::qom {

enum class SecretFormat { kRaw, kBase64 };

/// How a secret is given: the bytes themselves or a file with them, perhaps in base64.
struct SecretSettings {
    SecretFormat format = SecretFormat::kRaw;
    std::optional<std::string> data = {};
    std::optional<std::string> file = {};
};

/// Bytes that others may ask for by the secret's id.
class Secret {
public:
    Secret(SecretSettings settings, std::string bytes)
        : settings_(std::move(settings)), bytes_(std::move(bytes)) {}
    [[nodiscard]] const SecretSettings& settings() const { return settings_; }
    /// For qom-set. The bytes stay what they were when the secret was made.
    [[nodiscard]] SecretSettings& settings() { return settings_; }
    [[nodiscard]] const std::string& bytes() const { return bytes_; }

private:
    SecretSettings settings_;
    std::string bytes_;
};

/// Owns the objects, by id. Main thread.
class UserObjects {
public:
    /// Makes a secret: reads its file, at most 1 MiB, and decodes. Fails in QEMU's words.
    Result<void> add_secret(const std::string& id, SecretSettings settings);
    Result<void> remove(const std::string& id);

    [[nodiscard]] const std::map<std::string, Secret>& secrets() const { return secrets_; }
    [[nodiscard]] std::map<std::string, Secret>& secrets() { return secrets_; }

private:
    std::map<std::string, Secret> secrets_;
};

}  // namespace halcyon::qom
