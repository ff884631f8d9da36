/// ChardevRegistry: the process's character back ends by their ids.
#pragma once

#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "daemon/chardev/chardev.h"
#include "daemon/options/options.h"

namespace halcyon {

/// What a device of the guest is connected to: whichever back end has its place at the moment. So a
/// back end can be replaced while the guest writes to it. Same threads as CharBackend.
class ConsoleSlot final : public CharBackend {
public:
    explicit ConsoleSlot(Chardev& backend) : backend_(&backend) {}
    [[nodiscard]] size_t write(std::span<const std::byte> data) override;
    void input_wanted() override;
    void connect(CharFrontend* frontend) override;
    /// Connects the device to `backend` in place of the present one. Main thread.
    void replace(Chardev& backend);
    /// Shows the device a break condition. Main thread.
    void send_break();

    [[nodiscard]] const Chardev& backend() const { return *backend_; }

private:
    mutable std::mutex mutex_;  ///< guards `backend_`, which only the main thread changes
    Chardev* backend_;
    CharFrontend* frontend_ = nullptr;  ///< main thread
};

/// Owns all back ends and the slots of those that devices use. Main thread; `loop` outlives it.
class ChardevRegistry {
public:
    explicit ChardevRegistry(MainLoop& loop) : loop_(loop) {}

    /// Makes a back end. Fails when it cannot be opened, when its id is taken, or for a second one
    /// on stdio; the message begins with the options' origin.
    Result<Chardev*> add(const ChardevOptions& options);
    /// Makes a back end and puts it in the place of the one with that id, which goes: it must be
    /// nobody's or a device's.
    Result<Chardev*> change(const ChardevOptions& options);
    /// Fails when there is none, or somebody uses it.
    Result<void> remove(const std::string& id);

    /// The back end of that id, or null.
    [[nodiscard]] Chardev* find(std::string_view id) const;
    /// What a device connects to, for the back end of that id, which exists. Lives as long as the
    /// registry.
    [[nodiscard]] ConsoleSlot& slot(const std::string& id);
    /// The slot of that back end if a device uses it, or null.
    [[nodiscard]] ConsoleSlot* find_slot(const Chardev& chardev) const;
    [[nodiscard]] std::span<const std::unique_ptr<Chardev>> all() const { return chardevs_; }

private:
    Result<std::unique_ptr<Chardev>> make(const ChardevOptions& options);

    MainLoop& loop_;
    std::vector<std::unique_ptr<ConsoleSlot>> slots_;
    std::vector<std::unique_ptr<Chardev>> chardevs_;
};

}  // namespace halcyon
