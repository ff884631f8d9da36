#include <array>
#include <sstream>

#include <gtest/gtest.h>

#include "daemon/options/option_table.h"
#include "daemon/options/options.h"

namespace halcyon {
namespace {

class NamedAccelerator : public Accelerator {
public:
    explicit NamedAccelerator(std::string_view name) : name_(name) {}
    std::string_view name() const override { return name_; }
    Result<void> probe() const override { return Error("only a name"); }
    Result<std::unique_ptr<Partition>> create_partition(const PartitionConfig&) const override {
        return Error("only a name");
    }
    std::string_view kick_mechanism() const override { return "none"; }

private:
    std::string_view name_;
};

const NamedAccelerator kKvm("kvm");
const NamedAccelerator kSoft("soft");
const std::array<const Accelerator*, 2> kBuiltIn = {&kKvm, &kSoft};

Result<Options> parse(const std::vector<const char*>& arguments) {
    return parse_command_line(arguments, kBuiltIn);
}

/// Splits at spaces.
Result<Options> parse(const std::string& line) {
    std::istringstream stream(line);
    std::vector<std::string> words;
    for (std::string word; stream >> word;) {
        words.push_back(word);
    }
    std::vector<const char*> arguments;
    for (const std::string& word : words) {
        arguments.push_back(word.c_str());
    }
    return parse(arguments);
}

/// The error's text; empty when there was none.
std::string error_of(const std::string& line) {
    const Result<Options> options = parse(line);
    return options ? "" : options.error().message();
}

template <typename Kind>
const Kind* kind_of(const Result<Options>& options, size_t index = 0) {
    if (!options || index >= options->chardevs.size()) {
        return nullptr;
    }
    return std::get_if<Kind>(&options->chardevs[index].kind);
}

TEST(CommandLine, HasDefaults) {
    const auto options = parse("");
    ASSERT_TRUE(options);
    EXPECT_EQ(options->machine.board, BoardKind::kPc);
    EXPECT_EQ(options->machine.accelerators, (std::vector<const Accelerator*>{&kKvm, &kSoft}));
    EXPECT_EQ(options->machine.vcpu_count, 1u);
    EXPECT_EQ(options->machine.ram_size, 128_MiB);
    EXPECT_EQ(options->machine.firmware_path, kDefaultFirmware);
    EXPECT_EQ(options->machine.quit_timeout, std::chrono::seconds(5));
    EXPECT_TRUE(options->chardevs.empty());
    EXPECT_TRUE(options->monitors.empty());
    EXPECT_FALSE(options->information);
}

TEST(CommandLine, ReadsTheExampleOfTheHelp) {
    const auto options = parse(
        "-accel kvm:soft -smp 4 -m 64 -bios /usr/share/seabios/bios.bin -debugcon stdio "
        "-qmp unix:/run/user/0/vm.sock,server=on,wait=off");
    ASSERT_TRUE(options) << options.error().message();
    EXPECT_EQ(options->machine.vcpu_count, 4u);
    EXPECT_EQ(options->machine.ram_size, 64_MiB);
    EXPECT_EQ(options->debugcon, "debugcon");
    ASSERT_EQ(options->monitors.size(), 1u);
    EXPECT_EQ(options->monitors[0].chardev_id, "compat_monitor0");
    const auto* socket = kind_of<SocketChardevOptions>(options, 1);
    ASSERT_NE(socket, nullptr);
    EXPECT_EQ(socket->path, "/run/user/0/vm.sock");
    EXPECT_TRUE(socket->server);
    EXPECT_FALSE(socket->wait);
}

TEST(CommandLine, TakesTwoDashesForOne) {
    const auto options = parse("--smp 3 --S --machine none");
    ASSERT_TRUE(options);
    EXPECT_EQ(options->machine.vcpu_count, 3u);
    EXPECT_TRUE(options->machine.start_paused);
    EXPECT_EQ(options->machine.board, BoardKind::kNone);
}

TEST(CommandLine, SetsTheFlags) {
    const auto options = parse(
        "-S -preconfig -no-reboot -no-shutdown -nodefaults -no-user-config -display none "
        "-monitor none -daemonize -pidfile /p -D /l -quit-timeout 0.5 -bios /b");
    ASSERT_TRUE(options) << options.error().message();
    EXPECT_TRUE(options->machine.start_paused);
    EXPECT_TRUE(options->machine.preconfig);
    EXPECT_TRUE(options->machine.no_reboot);
    EXPECT_TRUE(options->machine.no_shutdown);
    EXPECT_TRUE(options->daemonize);
    EXPECT_EQ(options->pidfile, "/p");
    EXPECT_EQ(options->log_file, "/l");
    EXPECT_EQ(options->machine.quit_timeout, std::chrono::milliseconds(500));
    EXPECT_EQ(options->machine.firmware_path, "/b");
}

// -- machine ------------------------------------------------------------------------------------

TEST(CommandLine, TriesAcceleratorsInTheOrderGiven) {
    const std::vector<const Accelerator*> soft_kvm = {&kSoft, &kKvm};
    EXPECT_EQ(parse("-accel soft:kvm")->machine.accelerators, soft_kvm);
    EXPECT_EQ(parse("-accel soft -accel kvm")->machine.accelerators, soft_kvm);
    EXPECT_EQ(parse("-machine accel=soft:kvm")->machine.accelerators, soft_kvm);
    EXPECT_EQ(parse("-M pc,accel=soft:kvm")->machine.accelerators, soft_kvm);
}

TEST(CommandLine, PassesOverAnAcceleratorThatThisBuildLacks) {
    const std::vector<const Accelerator*> only_kvm = {&kKvm};
    EXPECT_EQ(parse("-accel mshv:kvm")->machine.accelerators, only_kvm);
    EXPECT_NE(error_of("-accel mshv").find("this build has no accelerator 'mshv', only kvm, soft"),
              std::string::npos);
}

TEST(CommandLine, TakesEnableKvmForTheAccelerator) {
    const std::vector<const Accelerator*> only_kvm = {&kKvm};
    EXPECT_EQ(parse("-enable-kvm")->machine.accelerators, only_kvm);
}

TEST(CommandLine, TakesMachinePropertiesThatChangeNothing) {
    EXPECT_TRUE(parse("-machine pc,usb=off,vmport=off"));
    EXPECT_NE(error_of("-machine pc,usb=on").find("say usb=off"), std::string::npos);
}

struct SmpCase {
    const char* argument;
    uint32_t expected;
};
class Smp : public testing::TestWithParam<SmpCase> {};
TEST_P(Smp, GivesTheNumberOfVcpus) {
    const auto options = parse(std::string("-smp ") + GetParam().argument);
    ASSERT_TRUE(options) << options.error().message();
    EXPECT_EQ(options->machine.vcpu_count, GetParam().expected);
}
INSTANTIATE_TEST_SUITE_P(Good, Smp,
                         testing::Values(SmpCase{"1", 1}, SmpCase{"255", 255}, SmpCase{"cpus=8", 8},
                                         SmpCase{"8,sockets=2,cores=2,threads=2", 8},
                                         SmpCase{"sockets=2,cores=3,threads=2", 12},
                                         SmpCase{"cores=4", 4}, SmpCase{"8,sockets=2", 8},
                                         SmpCase{"8,threads=2", 8}, SmpCase{"8,cores=2", 8},
                                         SmpCase{"4,maxcpus=4", 4}, SmpCase{"maxcpus=6", 6},
                                         SmpCase{"2,sockets=2,dies=1,clusters=1", 2}));

TEST(CommandLine, ReadsNameAndUuid) {
    const auto options = parse(
        "-name guest=vm1,process=proc,debug-threads=on "
        "-uuid 01020304-0506-0708-090a-0b0c0d0e0f10");
    ASSERT_TRUE(options) << options.error().message();
    EXPECT_EQ(options->machine.name, "vm1");
    EXPECT_EQ(options->process_name, "proc");
    ASSERT_TRUE(options->machine.uuid);
    EXPECT_EQ((*options->machine.uuid)[15], 0x10);
    EXPECT_EQ(parse("-name vm,,2")->machine.name, "vm,2");
}

TEST(CommandLine, ReadsBootOptions) {
    const auto options = parse("-boot menu=on,splash-time=1500,strict=on");
    ASSERT_TRUE(options) << options.error().message();
    EXPECT_TRUE(options->machine.boot_menu);
    EXPECT_EQ(options->machine.boot_menu_wait, std::chrono::milliseconds(1500));
    EXPECT_FALSE(parse("-boot menu=off")->machine.boot_menu);
    EXPECT_TRUE(parse("-nographic")->machine.no_graphics);
}

TEST(CommandLine, RoundsMemoryUpAsQemuDoes) {
    EXPECT_EQ(parse("-m 1b")->machine.ram_size, 8_KiB);
    EXPECT_EQ(parse("-m size=1G")->machine.ram_size, 1_GiB);
}

// -- back ends ----------------------------------------------------------------------------------

TEST(CommandLine, ReadsSocketBackEnds) {
    const auto path = parse("-chardev socket,id=a,path=/x,,y,server=on");
    const auto* socket = kind_of<SocketChardevOptions>(path);
    ASSERT_NE(socket, nullptr);
    EXPECT_EQ(socket->path, "/x,y");
    EXPECT_TRUE(socket->wait);
    EXPECT_EQ(socket->fd, -1);

    const auto inherited = parse("-chardev socket,id=a,fd=7,server=on,wait=off");
    socket = kind_of<SocketChardevOptions>(inherited);
    ASSERT_NE(socket, nullptr);
    EXPECT_EQ(socket->fd, 7);
    EXPECT_FALSE(socket->wait);

    const auto client = parse("-chardev socket,id=a,path=/x,abstract=on,tight=off");
    socket = kind_of<SocketChardevOptions>(client);
    ASSERT_NE(socket, nullptr);
    EXPECT_FALSE(socket->server);
    EXPECT_FALSE(socket->wait);
    EXPECT_TRUE(socket->abstract);
    EXPECT_FALSE(socket->tight);
}

TEST(CommandLine, ReadsTheOldFlagsOfSockets) {
    const auto options = parse("-qmp unix:/x,server,nowait");
    const auto* socket = kind_of<SocketChardevOptions>(options);
    ASSERT_NE(socket, nullptr);
    EXPECT_TRUE(socket->server);
    EXPECT_FALSE(socket->wait);
}

TEST(CommandLine, ReadsTcpInPlace) {
    const auto options = parse("-qmp tcp:[::1]:4444,server=on,wait=off,to=4450,ipv6=on");
    const auto* socket = kind_of<SocketChardevOptions>(options);
    ASSERT_NE(socket, nullptr);
    ASSERT_TRUE(socket->inet);
    EXPECT_EQ(socket->inet->host, "::1");
    EXPECT_EQ(socket->inet->port, 4444);
    EXPECT_EQ(socket->inet->last_port, 4450);
    EXPECT_TRUE(socket->inet->ipv6);
    EXPECT_FALSE(socket->wait);
    const auto any = parse("-serial tcp::5555,server=on");
    EXPECT_EQ(kind_of<SocketChardevOptions>(any)->inet->host, "");
}

TEST(CommandLine, ReadsReconnectAndWebsocket) {
    const auto client = parse("-chardev socket,id=a,host=h,port=1,reconnect=3");
    EXPECT_EQ(kind_of<SocketChardevOptions>(client)->reconnect, std::chrono::seconds(3));
    const auto sooner = parse("-chardev socket,id=a,path=/x,reconnect-ms=30");
    EXPECT_EQ(kind_of<SocketChardevOptions>(sooner)->reconnect, std::chrono::milliseconds(30));
    const auto server = parse("-qmp websocket:127.0.0.1:5700,server=on");
    EXPECT_TRUE(kind_of<SocketChardevOptions>(server)->websocket);
}

TEST(CommandLine, ReadsARingBuffer) {
    EXPECT_EQ(kind_of<RingbufChardevOptions>(parse("-chardev ringbuf,id=r"))->size, 65536u);
    EXPECT_EQ(kind_of<RingbufChardevOptions>(parse("-chardev ringbuf,id=r,size=4k"))->size, 4096u);
}

TEST(CommandLine, ReadsTheOtherBackEnds) {
    const auto options = parse(
        "-chardev file,id=f,path=/f,append=on -chardev pty,id=p -chardev null,id=n "
        "-chardev stdio,id=s,signal=off");
    ASSERT_TRUE(options) << options.error().message();
    EXPECT_TRUE(kind_of<FileChardevOptions>(options, 0)->append);
    EXPECT_NE(kind_of<PtyChardevOptions>(options, 1), nullptr);
    EXPECT_NE(kind_of<NullChardevOptions>(options, 2), nullptr);
    EXPECT_FALSE(kind_of<StdioChardevOptions>(options, 3)->signals);
}

TEST(CommandLine, NumbersSerialPortsInOrder) {
    const auto options = parse({"-serial", "null", "-serial", "none", "-serial", "file:/tmp/a,b=c",
                                "-serial", "chardev:x", "-chardev", "pty,id=x"});
    ASSERT_TRUE(options) << options.error().message();
    ASSERT_EQ(options->serial.size(), 4u);
    EXPECT_EQ(options->serial[0], "serial0");
    EXPECT_EQ(options->serial[1], std::nullopt);
    EXPECT_EQ(options->serial[2], "serial2");
    EXPECT_EQ(options->serial[3], "x");
    EXPECT_EQ(kind_of<FileChardevOptions>(options, 1)->path, "/tmp/a,b=c");
}

TEST(CommandLine, GivesNographicTheFirstSerialPort) {
    EXPECT_EQ(parse("-nographic")->serial.size(), 1u);
    EXPECT_NE(kind_of<StdioChardevOptions>(parse("-nographic")), nullptr);
    EXPECT_NE(kind_of<NullChardevOptions>(parse("-nographic -serial null")), nullptr);
    EXPECT_TRUE(parse("-nographic -nodefaults")->serial.empty());
}

TEST(CommandLine, ReadsMonitors) {
    const auto options = parse(
        "-mon chardev=m,mode=control,pretty=on -chardev null,id=m -qmp stdio -qmp-pretty pty "
        "-mon n,mode=control -chardev null,id=n");
    ASSERT_TRUE(options) << options.error().message();
    ASSERT_EQ(options->monitors.size(), 4u);
    EXPECT_EQ(options->monitors[0].chardev_id, "m");
    EXPECT_TRUE(options->monitors[0].pretty);
    EXPECT_EQ(options->monitors[1].chardev_id, "compat_monitor1");
    EXPECT_FALSE(options->monitors[1].pretty);
    EXPECT_TRUE(options->monitors[2].pretty);
    EXPECT_EQ(options->monitors[3].chardev_id, "n");
}

// -- information --------------------------------------------------------------------------------

TEST(CommandLine, StopsAtHelpAndVersion) {
    EXPECT_EQ(parse("-version -nonsense")->information, version_text());
    EXPECT_EQ(parse("--help")->information, help_text());
    EXPECT_EQ(parse("-h")->information, help_text());
    EXPECT_TRUE(parse("-machine help")->information);
    EXPECT_TRUE(parse("-cpu help")->information);
    EXPECT_TRUE(parse("-chardev help")->information);
    EXPECT_NE(parse("-accel help")->information->find("kvm: only a name"), std::string::npos);
    EXPECT_EQ(version_text().rfind("Halcyon version ", 0), 0u);
}

TEST(CommandLine, HelpNamesEveryOption) {
    for (const OptionSpec& spec : option_table()) {
        EXPECT_NE(help_text().find("\n  -" + std::string(spec.name)), std::string::npos)
            << spec.name;
        EXPECT_FALSE(spec.help.empty()) << spec.name;
    }
}

// -- errors -------------------------------------------------------------------------------------

struct BadCase {
    const char* line;
    /// What the error must say, from its beginning.
    const char* expected;
};
class BadCommandLine : public testing::TestWithParam<BadCase> {};

TEST_P(BadCommandLine, IsRefusedInOneLine) {
    const std::string error = error_of(GetParam().line);
    EXPECT_EQ(error.rfind(GetParam().expected, 0), 0u) << GetParam().line << "\n  -> " << error;
    EXPECT_EQ(error.find('\n'), std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(
    Options, BadCommandLine,
    testing::Values(BadCase{"-foo", "-foo: unknown option"},
                    BadCase{"--foo", "--foo: unknown option"},
                    BadCase{"---S", "---S: unknown option"},
                    BadCase{"-S=1", "-S=1: unknown option"}, BadCase{"-", "'-': not an option"},
                    BadCase{"--", "--: unknown option"},
                    BadCase{"disk.img", "'disk.img': not an option"},
                    BadCase{"-smp", "-smp: its argument is missing (-smp takes [cpus=]N"},
                    BadCase{"-S -m", "-m: its argument is missing"},
                    BadCase{"-display gtk", "-display gtk: there are no displays"},
                    BadCase{"-monitor stdio", "-monitor stdio: the human monitor is not supported"},
                    BadCase{"-quit-timeout 0", "-quit-timeout 0: must be a number of seconds"},
                    BadCase{"-quit-timeout 3601", "-quit-timeout 3601: must be"},
                    BadCase{"-quit-timeout x", "-quit-timeout x: must be"}));

INSTANTIATE_TEST_SUITE_P(
    Machine, BadCommandLine,
    testing::Values(
        BadCase{"-smp 0", "-smp 0: cpus must be at least 1 (-smp takes [cpus=]N"},
        BadCase{"-smp -1", "-smp -1: cpus must be a number from 0"},
        BadCase{"-smp four", "-smp four: cpus must be a number"},
        BadCase{"-smp 256", "-smp 256: that is more than 255 vCPUs"},
        BadCase{"-smp 4294967296", "-smp 4294967296: cpus must be a number from 0 to 4294967295"},
        BadCase{"-smp sockets=4294967295,cores=4294967295,threads=4294967295",
                "-smp sockets=4294967295,cores=4294967295,threads=4294967295: that is more"},
        BadCase{"-smp 4,sockets=3", "-smp 4,sockets=3: sockets x cores x threads is 3, but cpus"},
        BadCase{"-smp 2,cores=3", "-smp 2,cores=3: sockets x cores x threads is 3, but cpus is 2"},
        BadCase{"-smp 8,sockets=2,cores=2,threads=1",
                "-smp 8,sockets=2,cores=2,threads=1: sockets x cores x threads is 4"},
        BadCase{"-smp 2,maxcpus=4", "-smp 2,maxcpus=4: cpus is 2 and maxcpus 4: they must be"},
        BadCase{"-smp 4,maxcpus=2", "-smp 4,maxcpus=2: cpus is 4 and maxcpus 2"},
        BadCase{"-smp 2,dies=2", "-smp 2,dies=2: dies and clusters can only be 1"},
        BadCase{"-smp 2,cores=0", "-smp 2,cores=0: cores must be at least 1"},
        BadCase{"-smp 2,foo=1", "-smp 2,foo=1: unknown parameter 'foo'"},
        BadCase{"-m 0", "-m 0: a machine needs memory"},
        BadCase{"-m 0G", "-m 0G: a machine needs memory"},
        BadCase{"-m 5x", "-m 5x: size must be a number below 2^64"},
        BadCase{"-m 16E", "-m 16E: size must be a number below 2^64"},
        BadCase{"-m 18446744073709551615b", "-m 18446744073709551615b: size must be"},
        BadCase{"-m 64,slots=2", "-m 64,slots=2: unknown parameter 'slots'"},
        BadCase{"-m slots=2", "-m slots=2: size= is missing"},
        BadCase{"-machine q35", "-machine q35: there is no machine 'q35', only pc and none"},
        BadCase{"-M pc,foo=on", "-M pc,foo=on: unknown parameter 'foo'"},
        BadCase{"-accel tcg", "-accel tcg: there is no accelerator 'tcg', only kvm, soft"},
        BadCase{"-accel kvm:", "-accel kvm:: there is no accelerator ''"},
        BadCase{"-accel kvm,thread=single", "-accel kvm,thread=single: unknown parameter 'thread'"},
        BadCase{"-machine accel=zz", "-machine accel=zz: there is no accelerator 'zz'"},
        BadCase{"-accel soft -enable-kvm", "-enable-kvm: names an accelerator, and so does -accel"},
        BadCase{"-cpu qemu64", "-cpu qemu64: there is no CPU model 'qemu64', only host and max"},
        BadCase{"-cpu host,pmu=off", "-cpu host,pmu=off: unknown parameter 'pmu'"},
        BadCase{"-boot d", "-boot d: unknown parameter 'd'"},
        BadCase{"-boot splash-time=65536", "-boot splash-time=65536: splash-time must be"},
        BadCase{"-uuid 1234", "-uuid 1234: that is not a UUID"},
        BadCase{"-name foo=x", "-name foo=x: unknown parameter 'foo'"},
        BadCase{"-name a,debug-threads=maybe",
                "-name a,debug-threads=maybe: debug-threads must be on or off, not 'maybe'"}));

INSTANTIATE_TEST_SUITE_P(
    BackEnds, BadCommandLine,
    testing::Values(
        BadCase{"-chardev null", "-chardev null: id= is missing"},
        BadCase{"-chardev id=a", "-chardev id=a: backend= is missing"},
        BadCase{"-chardev spice,id=a", "-chardev spice,id=a: there is no back end 'spice', only"},
        BadCase{"-chardev null,id=1a", "-chardev null,id=1a: id '1a' must be a letter"},
        BadCase{"-chardev null,id=a,x=y", "-chardev null,id=a,x=y: unknown parameter 'x'"},
        BadCase{"-chardev null,id=a -chardev pty,id=a",
                "-chardev pty,id=a: there already is a chardev 'a'"},
        BadCase{"-chardev file,id=a", "-chardev file,id=a: path= is missing"},
        BadCase{"-chardev socket,id=a",
                "-chardev socket,id=a: path=, host= and port=, or fd= is missing"},
        BadCase{"-chardev socket,id=a,path=/x,fd=3",
                "-chardev socket,id=a,path=/x,fd=3: path=, host= and port=, and fd= exclude"},
        BadCase{"-chardev socket,id=a,fd=x", "-chardev socket,id=a,fd=x: fd must be a number"},
        BadCase{"-chardev socket,id=a,fd=99999999999",
                "-chardev socket,id=a,fd=99999999999: fd must be a number"},
        BadCase{"-chardev socket,id=a,path=/x,wait=off",
                "-chardev socket,id=a,path=/x,wait=off: wait= is for a server"},
        BadCase{"-chardev socket,id=a,path=/x,server=yes",
                "-chardev socket,id=a,path=/x,server=yes: server must be on or off, not 'yes'"},
        BadCase{"-chardev socket,id=a,host=localhost",
                "-chardev socket,id=a,host=localhost: port= is missing"},
        BadCase{"-chardev socket,id=a,port=65536",
                "-chardev socket,id=a,port=65536: port= is a port from 0 to 65535, not '65536'"},
        BadCase{"-chardev socket,id=a,port=9,to=8",
                "-chardev socket,id=a,port=9,to=8: to= is less than port="},
        BadCase{"-chardev socket,id=a,port=1", "-chardev socket,id=a,port=1: host= is missing"},
        BadCase{"-chardev socket,id=a,path=/x,websocket=on",
                "-chardev socket,id=a,path=/x,websocket=on: websocket= is for a server"},
        BadCase{"-chardev socket,id=a,path=/x,server=on,reconnect=1",
                "-chardev socket,id=a,path=/x,server=on,reconnect=1: reconnect= is for a client"},
        BadCase{"-chardev socket,id=a,path=/x,reconnect=1,reconnect-ms=5",
                "-chardev socket,id=a,path=/x,reconnect=1,reconnect-ms=5: reconnect= and "
                "reconnect-ms= exclude each other"},
        BadCase{"-chardev ringbuf,id=a,size=1000",
                "-chardev ringbuf,id=a,size=1000: size= is a power of two up to 64M, not '1000'"},
        BadCase{"-qmp unix:", "-qmp unix:: the path behind unix: is missing"},
        BadCase{"-qmp unix:/x,foo=1", "-qmp unix:/x,foo=1: unknown parameter 'foo'"},
        BadCase{"-qmp tcp:localhost", "-qmp tcp:localhost: 'localhost' is no HOST:PORT"},
        BadCase{"-qmp tcp:localhost:x", "-qmp tcp:localhost:x: port= is a port from 0 to 65535"},
        BadCase{"-serial mon:stdio", "-serial mon:stdio: 'mon:stdio' is no back end"},
        BadCase{"-serial file:", "-serial file:: the path behind file: is missing"},
        BadCase{"-serial chardev:", "-serial chardev:: the id behind chardev: is missing"},
        BadCase{"-serial chardev:x", "-serial chardev:x: there is no chardev 'x'"},
        BadCase{"-serial null -serial null -serial null -serial null -serial null",
                "-serial null: there are only 4 serial ports"},
        BadCase{"-debugcon null -debugcon null", "-debugcon null: there is only one"},
        BadCase{"-mon a", "-mon a: the human monitor is not supported; say mode=control"},
        BadCase{"-mon a,mode=x", "-mon a,mode=x: mode must be control, not 'x'"},
        BadCase{"-mon mode=control", "-mon mode=control: chardev= is missing"},
        BadCase{"-mon a,mode=control", "-mon a,mode=control: there is no chardev 'a'"},
        BadCase{"-chardev null,id=a -serial chardev:a -mon a,mode=control",
                "-serial chardev:a: chardev 'a' is already used by -mon a,mode=control"},
        BadCase{"-serial stdio -qmp stdio", "-qmp stdio: stdio is already taken by -serial stdio"},
        BadCase{"-daemonize -serial stdio", "-serial stdio: stdio cannot be used with -daemonize"},
        BadCase{"-daemonize -nographic", "-nographic: stdio cannot be used with -daemonize"}));

TEST(CommandLine, RefusesASocketPathThatTheSystemCannotTake) {
    EXPECT_TRUE(parse("-qmp unix:/" + std::string(106, 'x')));
    const std::string error = error_of("-qmp unix:/" + std::string(107, 'x'));
    EXPECT_NE(error.find("the socket path is 108 bytes long; the system takes at most 107"),
              std::string::npos)
        << error;
}

TEST(CommandLine, KeepsErrorsOnOneLineWhateverTheArgument) {
    const auto options = parse(std::vector<const char*>{"-smp", "a\nb\x1b[31m"});
    ASSERT_FALSE(options);
    EXPECT_EQ(options.error().message().find('\n'), std::string::npos);
    EXPECT_EQ(options.error().message().find('\x1b'), std::string::npos);
}

// -- sockets that the process was started with ----------------------------------------------------

Result<Options> parse_with(std::vector<PassedSocket> passed,
                           const std::vector<const char*>& arguments = {}) {
    return parse_command_line(arguments, kBuiltIn, passed);
}

TEST(PassedSockets, OneCalledQmpIsAMonitorsListener) {
    const Result<Options> options = parse_with({{3, "qmp"}});
    ASSERT_TRUE(options);
    ASSERT_EQ(options->monitors.size(), 1U);
    EXPECT_EQ(options->monitors[0].chardev_id, options->chardevs[0].id);
    const auto* socket = kind_of<SocketChardevOptions>(options);
    ASSERT_NE(socket, nullptr);
    EXPECT_EQ(socket->fd, 3);
    EXPECT_TRUE(socket->server);
    EXPECT_FALSE(socket->wait);
}

TEST(PassedSockets, TheyComeBehindTheMonitorsOfTheOptions) {
    const Result<Options> options =
        parse_with({{3, "qmp"}, {4, "qmp"}}, {"-qmp", "unix:/x,server=on,wait=off"});
    ASSERT_TRUE(options);
    ASSERT_EQ(options->monitors.size(), 3U);
    EXPECT_EQ(options->monitors[0].chardev_id, "compat_monitor0");
    EXPECT_EQ(options->monitors[2].chardev_id, "compat_monitor2");
}

TEST(PassedSockets, OneOfAnotherNameMustBeUsedByAnOption) {
    const Result<Options> unused = parse_with({{3, "console"}});
    ASSERT_FALSE(unused);
    EXPECT_EQ(unused.error().message(),
              "LISTEN_FDS: descriptor 3 is called 'console', and no option uses it; one called "
              "'qmp' is a QMP monitor");
    const Result<Options> used =
        parse_with({{3, "console"}}, {"-serial", "fd=3,server=on,wait=off"});
    ASSERT_TRUE(used) << used.error().message();
    EXPECT_TRUE(used->monitors.empty());
}

TEST(PassedSockets, AnOptionThatUsesOneCalledQmpHasItForItself) {
    const Result<Options> options =
        parse_with({{3, "qmp"}}, {"-qmp-pretty", "fd=3,server=on,wait=off"});
    ASSERT_TRUE(options);
    ASSERT_EQ(options->monitors.size(), 1U);
    EXPECT_TRUE(options->monitors[0].pretty);
}

TEST(CommandLine, AMonitorOnAnInheritedDescriptor) {
    const Result<Options> options = parse("-qmp fd=7,server=on,wait=off");
    ASSERT_TRUE(options) << options.error().message();
    const auto* socket = kind_of<SocketChardevOptions>(options);
    ASSERT_NE(socket, nullptr);
    EXPECT_EQ(socket->fd, 7);
    EXPECT_NE(error_of("-qmp fd=x"), "");
    EXPECT_NE(error_of("-qmp fd=7,path=/x"), "");
    EXPECT_NE(error_of("-qmp fd="), "");
}

}  // namespace
}  // namespace halcyon
