#include "daemon/qom/object.h"

#include <algorithm>
#include <span>
#include <utility>

namespace halcyon::qom {

namespace {

using Steps = std::span<const std::string_view>;

std::vector<std::string_view> split(std::string_view path) {
    std::vector<std::string_view> steps;
    while (!path.empty()) {
        const size_t end = std::min(path.find('/'), path.size());
        if (end != 0) {
            steps.push_back(path.substr(0, end));
        }
        path.remove_prefix(std::min(end + 1, path.size()));
    }
    return steps;
}

const Object* walk(const Object& root, const Object* from, Steps steps) {
    for (const std::string_view step : steps) {
        if (from == nullptr) {
            return nullptr;
        }
        if (const Object* const child = from->find_child(step)) {
            from = child;
            continue;
        }
        const Object::Property* const link = from->find_property(step);
        const bool leads_on = link != nullptr && link->type.starts_with("link<") &&
                              !link->value.get_ref<const std::string&>().empty();
        // A link's target is a path without links, so this ends.
        from = leads_on ? resolve(root, link->value.get_ref<const std::string&>()).object : nullptr;
    }
    return from;
}

/// Looks below every object for one that the steps lead to.
void search(const Object& root, const Object& from, Steps steps, Resolved& found) {
    if (const Object* const here = walk(root, &from, steps)) {
        found.ambiguous = found.object != nullptr;
        found.object = here;
    }
    for (const auto& child : from.children()) {
        if (found.ambiguous) {
            return;
        }
        search(root, *child, steps, found);
    }
}

}  // namespace

Object::Object(std::string name, std::string_view type, const Object* parent)
    : name_(std::move(name)), type_(find_type(type)), parent_(parent) {
    put("type", type_->name);
}

std::string Object::path() const {
    if (parent_ == nullptr) {
        return "/";
    }
    return (parent_->parent_ == nullptr ? "/" : parent_->path() + "/") + name_;
}

Object& Object::add_child(std::string name, std::string_view type) {
    children_.push_back(std::make_unique<Object>(std::move(name), type, this));
    return *children_.back();
}

Object& Object::container(std::string_view name) {
    const auto found = std::ranges::find(children_, name, [](const auto& c) { return c->name(); });
    return found == children_.end() ? add_child(std::string(name), "container") : **found;
}

void Object::put(std::string_view name, Json value, Setter set) {
    if (const PropertySpec* const spec = qom::find_property(*type_, name)) {
        properties_.push_back({std::string(name), std::string(spec->type), std::move(value),
                               std::move(set), spec->of_device});
    }
}

void Object::add_link(std::string name, std::string_view type, const std::string& target) {
    properties_.push_back({std::move(name), "link<" + std::string(type) + ">", target});
}

const Object* Object::find_child(std::string_view name) const {
    const auto found = std::ranges::find(children_, name, [](const auto& c) { return c->name(); });
    return found == children_.end() ? nullptr : found->get();
}

const Object::Property* Object::find_property(std::string_view name) const {
    const auto found = std::ranges::find(properties_, name, &Property::name);
    return found == properties_.end() ? nullptr : &*found;
}

Resolved resolve(const Object& root, std::string_view path) {
    const std::vector<std::string_view> steps = split(path);
    if (path.starts_with('/')) {
        return {.object = walk(root, &root, steps)};
    }
    Resolved found;
    search(root, root, steps, found);
    if (found.ambiguous) {
        found.object = nullptr;
    }
    return found;
}

}  // namespace halcyon::qom
