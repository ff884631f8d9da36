#include "daemon/options/key_values.h"

#include "daemon/options/values.h"

namespace halcyon {
namespace {

/// Takes one item off the front of `text`: up to a comma that stands alone, with ",," made ",".
/// `text` is left behind that comma; false when there was none, so that nothing follows.
bool split_item(std::string_view* text, std::string* item) {
    item->clear();
    size_t position = 0;
    while (position < text->size()) {
        const char character = (*text)[position];
        if (character == ',') {
            if (position + 1 == text->size() || (*text)[position + 1] != ',') {
                text->remove_prefix(position + 1);
                return true;
            }
            ++position;
        }
        item->push_back(character);
        ++position;
    }
    *text = {};
    return false;
}

}  // namespace

Result<KeyValues> KeyValues::parse(std::string_view text, std::string_view implied_key) {
    KeyValues result;
    std::string item;
    bool more = true;
    bool first = true;
    while (more) {
        more = split_item(&text, &item);
        const size_t equals = item.find('=');
        if (equals == std::string::npos && first && !implied_key.empty()) {
            result.items_.push_back({std::string(implied_key), item, false});
        } else if (equals == std::string::npos) {
            // A trailing comma is harmless, as in QEMU.
            if (!item.empty()) {
                result.items_.push_back({item, "on", true});
            }
        } else if (equals == 0) {
            return Error("'" + item + "' has no key in front of its '='",
                         ErrorCode::kInvalidArgument);
        } else {
            result.items_.push_back({item.substr(0, equals), item.substr(equals + 1), false});
        }
        first = false;
    }
    return result;
}

Result<KeyValues> KeyValues::parse_with_head(std::string_view text, std::string* head) {
    if (!split_item(&text, head)) {
        return KeyValues();
    }
    return parse(text);
}

void KeyValues::set(std::string key, std::string value) {
    items_.push_back({std::move(key), std::move(value), false});
}

std::optional<std::string> KeyValues::take(std::string_view key) {
    std::optional<std::string> value;
    std::vector<Item> left;
    for (Item& item : items_) {
        if (item.key == key) {
            value = std::move(item.value);
        } else if (item.bare && item.key.starts_with("no") &&
                   std::string_view(item.key).substr(2) == key) {
            value = "off";
        } else {
            left.push_back(std::move(item));
        }
    }
    items_ = std::move(left);
    return value;
}

Result<std::optional<bool>> KeyValues::take_bool(std::string_view key) {
    const std::optional<std::string> value = take(key);
    if (!value) {
        return std::optional<bool>();
    }
    if (*value != "on" && *value != "off") {
        return Error(std::string(key) + " must be on or off, not '" + *value + "'",
                     ErrorCode::kInvalidArgument);
    }
    return std::optional<bool>(*value == "on");
}

Result<std::optional<uint64_t>> KeyValues::take_number(std::string_view key, uint64_t maximum) {
    const std::optional<std::string> value = take(key);
    if (!value) {
        return std::optional<uint64_t>();
    }
    const std::optional<uint64_t> number = parse_number(*value);
    if (!number || *number > maximum) {
        return Error(std::string(key) + " must be a number from 0 to " + std::to_string(maximum) +
                         ", not '" + *value + "'",
                     ErrorCode::kInvalidArgument);
    }
    return number;
}

Result<std::string> KeyValues::take_required(std::string_view key) {
    std::optional<std::string> value = take(key);
    if (!value || value->empty()) {
        return Error(std::string(key) + "= is missing", ErrorCode::kInvalidArgument);
    }
    return *std::move(value);
}

Result<void> KeyValues::expect_empty() const {
    if (items_.empty()) {
        return {};
    }
    return Error("unknown parameter '" + items_.front().key + "'", ErrorCode::kInvalidArgument);
}

}  // namespace halcyon
