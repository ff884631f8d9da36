/// Object: a node of the object tree, with the values that its properties have at the moment.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "daemon/qom/types.h"
#include "protocol/json.h"

namespace halcyon::qom {

/// An object as a client sees it. The tree is made anew for each command, from the things
/// themselves, so it holds values and no state. Main thread.
class Object {
public:
    /// Takes a new value; fails when it does not.
    using Setter = std::function<Result<void>(const Json& value)>;

    struct Property {
        std::string name;
        std::string type;
        Json value;
        Setter set = {};  ///< empty for one that cannot be set
        /// Fixed when the device was made.
        bool of_device = false;
    };

    /// `type` exists.
    Object(std::string name, std::string_view type, const Object* parent = nullptr);
    Object(const Object&) = delete;
    Object& operator=(const Object&) = delete;

    [[nodiscard]] const std::string& name() const { return name_; }
    [[nodiscard]] const TypeSpec& type() const { return *type_; }
    [[nodiscard]] const Object* parent() const { return parent_; }
    [[nodiscard]] const std::vector<Property>& properties() const { return properties_; }
    [[nodiscard]] const std::vector<std::unique_ptr<Object>>& children() const { return children_; }
    /// Its path from the root: "/machine/unattached".
    [[nodiscard]] std::string path() const;

    Object& add_child(std::string name, std::string_view type);
    /// The child of that name; made as a container if it is not there.
    Object& container(std::string_view name);
    /// Gives a property of its type a value; one that the type lacks is not taken.
    void put(std::string_view name, Json value, Setter set = {});
    /// Adds a property that refers to the object at `target`.
    void add_link(std::string name, std::string_view type, const std::string& target);

    /// Null without.
    [[nodiscard]] const Object* find_child(std::string_view name) const;
    [[nodiscard]] const Property* find_property(std::string_view name) const;

private:
    std::string name_;
    const TypeSpec* type_;
    const Object* parent_;
    std::vector<Property> properties_;
    std::vector<std::unique_ptr<Object>> children_;
};

/// What a path leads to.
struct Resolved {
    const Object* object = nullptr;  ///< null for nothing, or for too much
    bool ambiguous = false;
};

/// The object at a path: an absolute one ("/machine/peripheral"), or the end of one ("peripheral")
/// that only one object's path has. Links are followed; empty steps do not count.
[[nodiscard]] Resolved resolve(const Object& root, std::string_view path);

}  // namespace halcyon::qom
