#include "daemon/chardev/chardev_registry.h"

#include <algorithm>
#include <utility>

#include "daemon/chardev/kinds.h"

namespace halcyon {

// -- slots ----------------------------------------------------------------------------------------

size_t ConsoleSlot::write(std::span<const std::byte> data) {
    const std::lock_guard lock(mutex_);
    return backend_->write(data);
}

void ConsoleSlot::input_wanted() {
    const std::lock_guard lock(mutex_);
    backend_->input_wanted();
}

void ConsoleSlot::connect(CharFrontend* frontend) {
    frontend_ = frontend;
    backend_->connect(frontend);
}

void ConsoleSlot::replace(Chardev& backend) {
    backend_->connect(nullptr);
    {
        const std::lock_guard lock(mutex_);
        backend_ = &backend;
    }
    if (frontend_ != nullptr) {
        backend.connect(frontend_);
        // What the old one had no room for.
        frontend_->on_writable();
    }
}

void ConsoleSlot::send_break() {
    if (frontend_ != nullptr) {
        frontend_->on_break();
    }
}

// -- the registry ---------------------------------------------------------------------------------

Chardev* ChardevRegistry::find(std::string_view id) const {
    const auto found = std::find_if(chardevs_.begin(), chardevs_.end(),
                                    [&](const auto& chardev) { return chardev->id() == id; });
    return found == chardevs_.end() ? nullptr : found->get();
}

ConsoleSlot* ChardevRegistry::find_slot(const Chardev& chardev) const {
    const auto found = std::find_if(slots_.begin(), slots_.end(),
                                    [&](const auto& slot) { return &slot->backend() == &chardev; });
    return found == slots_.end() ? nullptr : found->get();
}

ConsoleSlot& ChardevRegistry::slot(const std::string& id) {
    Chardev& chardev = *find(id);
    if (ConsoleSlot* present = find_slot(chardev)) {
        return *present;
    }
    return *slots_.emplace_back(std::make_unique<ConsoleSlot>(chardev));
}

Result<std::unique_ptr<Chardev>> ChardevRegistry::make(const ChardevOptions& options) {
    const auto is_stdio = [](const std::unique_ptr<Chardev>& chardev) {
        return dynamic_cast<const StdioChardev*>(chardev.get()) != nullptr;
    };
    if (std::holds_alternative<StdioChardevOptions>(options.kind) &&
        std::any_of(chardevs_.begin(), chardevs_.end(), is_stdio)) {
        return Error(options.origin + ": cannot use stdio by multiple character devices");
    }
    return create_chardev(options, loop_);
}

Result<Chardev*> ChardevRegistry::add(const ChardevOptions& options) {
    if (find(options.id) != nullptr) {
        return Error("Chardev with id '" + options.id + "' already exists");
    }
    chardevs_.push_back(TRY(make(options)));
    return chardevs_.back().get();
}

Result<Chardev*> ChardevRegistry::change(const ChardevOptions& options) {
    Chardev* old = find(options.id);
    if (old == nullptr) {
        return Error("Chardev '" + options.id + "' does not exist");
    }
    ConsoleSlot* slot = find_slot(*old);
    if (old->has_frontend() && slot == nullptr) {
        return Error("Chardev user does not support chardev hotswap");
    }
    std::unique_ptr<Chardev> made = TRY(make(options));
    if (slot != nullptr) {
        slot->replace(*made);
    }
    const auto place = std::find_if(chardevs_.begin(), chardevs_.end(),
                                    [&](const auto& chardev) { return chardev.get() == old; });
    *place = std::move(made);
    return place->get();
}

Result<void> ChardevRegistry::remove(const std::string& id) {
    const auto place = std::find_if(chardevs_.begin(), chardevs_.end(),
                                    [&](const auto& chardev) { return chardev->id() == id; });
    if (place == chardevs_.end()) {
        return Error("Chardev '" + id + "' not found");
    }
    if ((*place)->has_frontend() || find_slot(**place) != nullptr) {
        return Error("Chardev '" + id + "' is busy");
    }
    chardevs_.erase(place);
    return {};
}

}  // namespace halcyon
