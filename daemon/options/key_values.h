/// KeyValues: an option's argument of the form "VALUE,key=value,flag", as QEMU writes them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace halcyon {

/// A parsed argument, consumed key by key with `take…`; `expect_empty` then refuses what nobody
/// took. The syntax is that of QEMU's "-option" arguments (its manual, "Invocation"): items are
/// separated by commas, ",," stands for a comma inside a value, a key without value is a flag that
/// is on, and a flag written "nokey" is key=off. Where a key comes twice, the last one counts.
class KeyValues {
public:
    /// With an `implied_key`, the first item may be a bare value of that key: "-smp 4" is
    /// "-smp cpus=4". Fails on an empty key.
    static Result<KeyValues> parse(std::string_view text, std::string_view implied_key = {});

    /// Splits "HEAD,key=value,..." into the head, in which ",," is unescaped and "=" means nothing,
    /// and the items behind it. For "unix:PATH,server=on".
    static Result<KeyValues> parse_with_head(std::string_view text, std::string* head);

    /// Adds an item behind the others.
    void set(std::string key, std::string value);

    /// The value of `key` ("on" for a bare flag), which is then gone from here.
    std::optional<std::string> take(std::string_view key);
    /// The same for what must be on or off.
    Result<std::optional<bool>> take_bool(std::string_view key);
    /// The same for a decimal number of at most `maximum`.
    Result<std::optional<uint64_t>> take_number(std::string_view key, uint64_t maximum);
    /// The same for what must be there and not be empty.
    Result<std::string> take_required(std::string_view key);

    /// Fails, naming the first item left.
    [[nodiscard]] Result<void> expect_empty() const;

private:
    struct Item {
        std::string key;
        std::string value;
        /// No "=" was written.
        bool bare = false;
    };

    std::vector<Item> items_;
};

}  // namespace halcyon
