// Drives the daemon with DigitalOcean's go-qemu: the socket's path.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/digitalocean/go-qemu/qmp"
)

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func status(monitor *qmp.SocketMonitor) string {
	reply, err := monitor.Run([]byte(`{"execute": "query-status"}`))
	check(err)
	var answer struct {
		Return struct {
			Status string `json:"status"`
		} `json:"return"`
	}
	check(json.Unmarshal(reply, &answer))
	return answer.Return.Status
}

func run(monitor *qmp.SocketMonitor, command string) {
	_, err := monitor.Run([]byte(`{"execute": "` + command + `"}`))
	check(err)
}

func main() {
	monitor, err := qmp.NewSocketMonitor("unix", os.Args[1], 10*time.Second)
	check(err)
	check(monitor.Connect())
	run(monitor, "stop")
	if now := status(monitor); now != "paused" {
		check(fmt.Errorf("after stop: %s", now))
	}
	run(monitor, "cont")
	if now := status(monitor); now != "running" {
		check(fmt.Errorf("after cont: %s", now))
	}
	_, err = monitor.Run([]byte(`{"execute": "no-such-command"}`))
	if err == nil || !strings.Contains(err.Error(), "no-such-command") {
		check(fmt.Errorf("an unknown command answered %v", err))
	}
	run(monitor, "quit")
	fmt.Println("done")
}
