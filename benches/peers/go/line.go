package main

import (
	"net"
	"time"
)

// line delays and limits the bytes between the two ends, in the same way as the Rust program: a
// byte leaves one delay after it entered, and no faster than the rate.
type line struct {
	delay time.Duration
	// rate is in Mbit/s; 0 means no limit.
	rate int
}

const (
	// taken is the most that is read at once.
	taken = 64 << 10
	// page is the unit in which room is counted.
	page = 4 << 10
)

type piece struct {
	due   time.Time
	bytes []byte
}

// before returns the address of a relay before server, or server's own address if no relay is
// needed.
func (l line) before(server net.Addr) (string, error) {
	if l == (line{}) {
		return server.String(), nil
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	go func() {
		defer listener.Close()
		// Each run has its own relay and connection.
		near, err := listener.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", server.String())
		if err != nil {
			near.Close()
			return
		}
		go l.carry(near.(*net.TCPConn), far.(*net.TCPConn))
		l.carry(far.(*net.TCPConn), near.(*net.TCPConn))
	}()
	return listener.Addr().String(), nil
}

// carry carries one direction.
func (l line) carry(from, to *net.TCPConn) {
	// The bytes that are on their way at once, and as many again.
	room := max(4*l.rate*125*int(l.delay.Milliseconds()), 4*taken)
	queue, pages := make(chan piece, room/page), make(chan struct{}, room/page)
	go func() {
		defer close(queue)
		free := time.Now()
		buffer := make([]byte, taken)
		for {
			n, err := from.Read(buffer)
			if n > 0 {
				if now := time.Now(); free.Before(now) {
					free = now
				}
				if l.rate > 0 {
					free = free.Add(time.Duration(n * 8_000 / l.rate))
				}
				for range 1 + n/page {
					pages <- struct{}{}
				}
				queue <- piece{free.Add(l.delay), append([]byte(nil), buffer[:n]...)}
			}
			if err != nil {
				return
			}
		}
	}()
	release := func(piece piece) {
		for range 1 + len(piece.bytes)/page {
			<-pages
		}
	}
	for piece := range queue {
		time.Sleep(time.Until(piece.due))
		_, err := to.Write(piece.bytes)
		release(piece)
		if err != nil {
			break
		}
	}
	to.CloseWrite()
	for piece := range queue {
		release(piece)
	}
}
