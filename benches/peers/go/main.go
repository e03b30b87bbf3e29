// Command peers measures Go's transports with the workloads of the Rust program of this name, and
// prints results for that program. Both ends are in this process.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"os"
	"sort"
	"strings"
	"syscall"
	"time"
)

// pipe is one end of a connection. Every send leaves without waiting for another one.
type pipe interface {
	send(message []byte) error
	// receive waits for more bytes, and returns how many have arrived.
	receive() (int, error)
	close()
}

// peer is a transport: it serves every pipe with serve, and opens one to itself.
type peer interface {
	open(over over, serve func(pipe)) (pipe, error)
}

// over is the path between the two ends.
type over struct {
	tls  bool
	line line
}

type measured struct {
	Rate   float64     `json:"rate"`
	CPU    float64     `json:"cpu"`
	Memory float64     `json:"memory"`
	Trips  *[3]float64 `json:"trips"`
	Spread *float64    `json:"spread"`
}

func main() {
	name := flag.String("peer", "", "go-http or go-websocket")
	kind := flag.String("workload", "", "as the Rust program has it")
	millis := flag.Int("millis", 500, "how long it is to take")
	tls := flag.Bool("tls", false, "over TLS")
	roundTrip := flag.Int("round-trip", 0, "of the line between the ends, in milliseconds")
	rate := flag.Int("rate", 0, "what the line carries, in Mbit/s; 0 is whatever comes")
	flag.Parse()
	line := line{delay: time.Duration(*roundTrip) * time.Millisecond / 2, rate: *rate}
	over := over{tls: *tls, line: line}
	result, err := measure(*name, *kind, time.Duration(*millis)*time.Millisecond, over)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	json.NewEncoder(os.Stdout).Encode(result)
}

func measure(name, kind string, target time.Duration, over over) (*measured, error) {
	peers := map[string]peer{"go-http": httpPeer{}, "go-websocket": websocketPeer{}}
	work, known := workloads[kind]
	if peers[name] == nil || !known {
		return nil, fmt.Errorf("no peer %q or no workload %q", name, kind)
	}
	run := func(count int) (time.Duration, []time.Duration, error) {
		return work.run(peers[name], over, count)
	}
	count := 32
	for {
		took, _, err := run(count)
		if err != nil {
			return nil, err
		}
		times := float64(target) / math.Max(float64(took), 1000)
		count = int(math.Ceil(float64(count) * math.Min(times, 16)))
		if times < 4 {
			break
		}
	}
	before := processorTime()
	took, trips, err := run(count)
	if err != nil {
		return nil, err
	}
	units := work.units(count)
	return &measured{
		Rate:   units / took.Seconds(),
		CPU:    float64((processorTime() - before).Microseconds()) / units,
		Memory: peakMemory(),
		Trips:  percentiles(trips),
	}, nil
}

func percentiles(trips []time.Duration) *[3]float64 {
	if len(trips) == 0 {
		return nil
	}
	sort.Slice(trips, func(i, j int) bool { return trips[i] < trips[j] })
	var parts [3]float64
	for i, part := range []float64{0.5, 0.99, 0.999} {
		trip := trips[int(math.Round(part*float64(len(trips)-1)))]
		parts[i] = float64(trip.Nanoseconds()) / 1000
	}
	return &parts
}

func processorTime() time.Duration {
	var usage syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func peakMemory() float64 {
	status, _ := os.ReadFile("/proc/self/status")
	for _, line := range strings.Split(string(status), "\n") {
		var kibibytes float64
		if n, _ := fmt.Sscanf(line, "VmHWM: %f kB", &kibibytes); n == 1 {
			return kibibytes / 1024
		}
	}
	return 0
}
