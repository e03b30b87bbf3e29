package main

import (
	"fmt"
	"time"
)

const bulk = 64 << 10

type workload struct {
	// size of a message.
	size int
	// serve is the server's part with count messages.
	serve func(p pipe, size, count int) error
	// client is the client's part. It returns the times of round trips, if they are measured.
	client func(p pipe, size, count int) ([]time.Duration, error)
	// megabytes for each message, or 0 if messages are counted.
	megabytes float64
}

var workloads = map[string]workload{
	"bulk":          {bulk, sink, drive, bulk / 1e6},
	"both-ways":     {bulk, both, driveBoth, 2 * bulk / 1e6},
	"messages-64":   {64, sink, drive, 0},
	"messages-1k":   {1 << 10, sink, drive, 0},
	"ping-pong-64":  {64, echo, bounce, 0},
	"ping-pong-16k": {16 << 10, echo, bounce, 0},
}

func (w workload) units(count int) float64 {
	if w.megabytes == 0 {
		return float64(count)
	}
	return w.megabytes * float64(count)
}

// run opens a pipe, warms it up with a round trip, and runs count units of the workload.
func (w workload) run(p peer, over over, count int) (time.Duration, []time.Duration, error) {
	served, start := make(chan error, 1), make(chan struct{})
	client, err := p.open(over, func(server pipe) {
		served <- func() error {
			if err := echo(server, 1, 1); err != nil {
				return err
			}
			// Wait until the client has read the answer, or more bytes would arrive with it.
			<-start
			return w.serve(server, w.size, count)
		}()
		// The pipe must stay open until the client has everything.
		server.receive()
	})
	if err != nil {
		return 0, nil, err
	}
	defer client.close()
	if _, err := bounce(client, 1, 1); err != nil {
		return 0, nil, err
	}
	close(start)
	began := time.Now()
	trips, err := w.client(client, w.size, count)
	if err != nil {
		return 0, nil, err
	}
	took := time.Since(began)
	return took, trips, <-served
}

func sendAll(p pipe, size, count int) error {
	message := make([]byte, size)
	for i := 0; i < count; i++ {
		if err := p.send(message); err != nil {
			return err
		}
	}
	return nil
}

func receiveAll(p pipe, bytes int) error {
	for bytes > 0 {
		n, err := p.receive()
		if err != nil {
			return err
		}
		bytes -= n
	}
	if bytes < 0 {
		return fmt.Errorf("%d bytes too many have come", -bytes)
	}
	return nil
}

func sink(p pipe, size, count int) error {
	if err := receiveAll(p, size*count); err != nil {
		return err
	}
	return p.send([]byte("!"))
}

func drive(p pipe, size, count int) ([]time.Duration, error) {
	if err := sendAll(p, size, count); err != nil {
		return nil, err
	}
	return nil, receiveAll(p, 1)
}

func both(p pipe, size, count int) error {
	sent := make(chan error, 1)
	go func() { sent <- sendAll(p, size, count) }()
	if err := receiveAll(p, size*count); err != nil {
		return err
	}
	return <-sent
}

func driveBoth(p pipe, size, count int) ([]time.Duration, error) {
	return nil, both(p, size, count)
}

func echo(p pipe, size, count int) error {
	message := make([]byte, size)
	for i := 0; i < count; i++ {
		if err := receiveAll(p, size); err != nil {
			return err
		}
		if err := p.send(message); err != nil {
			return err
		}
	}
	return nil
}

func bounce(p pipe, size, count int) ([]time.Duration, error) {
	message := make([]byte, size)
	trips := make([]time.Duration, 0, count)
	for i := 0; i < count; i++ {
		began := time.Now()
		if err := p.send(message); err != nil {
			return nil, err
		}
		if err := receiveAll(p, size); err != nil {
			return nil, err
		}
		trips = append(trips, time.Since(began))
	}
	return trips, nil
}
