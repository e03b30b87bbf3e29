package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

const (
	chunk = 1 << 10
	size  = 1 << 20
	// More than any window on the path.
	much = 3 << 20
	last = 1000
)

var (
	// errAbort ends a connection with a reset.
	errAbort = errors.New("to be aborted")
	// errOver is no error: there is nothing left to end.
	errOver = errors.New("over already")
)

// A scenario plays one end of a connection, and returns when it has written everything. Its
// direction is then ended, and the peer's is read to its end.
type scenario func(conn io.ReadWriter) error

var scenarios = map[string]scenario{
	"write":        write,
	"read":         read,
	"ping":         ping,
	"pong":         pong,
	"echo":         echo,
	"both-ways":    bothWays,
	"ask":          ask,
	"answer":       answer,
	"abort":        abort,
	"expect-reset": expectReset,
	"hold":         hold,
	"gob":          gobValues,
	"json":         jsonValues,
	"fixed":        fixedBuffers,
	"formats-1st":  inTurns(true),
	"formats-2nd":  inTurns(false),
	"formats":      atOnce,
	"nothing":      func(io.ReadWriter) error { return nil },
}

// noise returns the same bytes as the function of that name in tests/it/support.rs.
func noise(length int, seed uint64) []byte {
	state := seed*0x9e3779b97f4a7c15 | 1
	made := make([]byte, length)
	for i := range made {
		state ^= state << 13
		state ^= state >> 7
		state ^= state << 17
		made[i] = byte(state >> 32)
	}
	return made
}

// write is one end of nettest's BasicIO, and read is the other.
func write(conn io.ReadWriter) error {
	for rest := noise(size, 1); len(rest) > 0; rest = rest[chunk:] {
		if _, err := conn.Write(rest[:chunk]); err != nil {
			return err
		}
	}
	return nil
}

func read(conn io.ReadWriter) error {
	heard, err := io.ReadAll(conn)
	if err != nil {
		return err
	}
	if !bytes.Equal(heard, noise(size, 1)) {
		return fmt.Errorf("%d bytes came, and not those", len(heard))
	}
	return nil
}

// ping begins nettest's PingPong, and pong follows. >>97t the other end was the one that received
// the last number
func ping(conn io.ReadWriter) error {
	if _, err := conn.Write(make([]byte, 8)); err != nil {
		return err
	}
	return pong(conn)
}

func pong(conn io.ReadWriter) error {
	counter := make([]byte, 8)
	for previous := uint64(0); ; {
		if _, err := io.ReadFull(conn, counter); err == io.EOF && previous == last-1 {
			return nil // the other end was the one to see the last number
		} else if err != nil {
			return err
		}
		number := binary.LittleEndian.Uint64(counter)
		if previous != 0 && number != previous+2 {
			return fmt.Errorf("%d came after %d", number, previous)
		}
		if previous = number; number == last {
			return nil
		}
		binary.LittleEndian.PutUint64(counter, number+1)
		if _, err := conn.Write(counter); err != nil {
			return err
		}
	}
}

func echo(conn io.ReadWriter) error {
	_, err := io.Copy(conn, conn)
	return err
}

// bothWays writes to an echo while it reads from it.
func bothWays(conn io.ReadWriter) error {
	said := noise(much, 2)
	written := make(chan error, 1)
	go func() {
		_, err := conn.Write(said)
		written <- err
	}()
	heard := make([]byte, len(said))
	if _, err := io.ReadFull(conn, heard); err != nil {
		return err
	}
	if !bytes.Equal(heard, said) {
		return errors.New("other bytes came back")
	}
	return <-written
}

// ask is the client's part of an exchange in which the server answers after the end of the
// question.
func ask(conn io.ReadWriter) error {
	if _, err := io.WriteString(conn, "question"); err != nil {
		return err
	}
	if err := conn.(io.Closer).Close(); err != nil {
		return err
	}
	heard, err := io.ReadAll(conn)
	if err == nil && string(heard) != "answer" {
		err = fmt.Errorf("%q came", heard)
	}
	return err
}

func answer(conn io.ReadWriter) error {
	heard, err := io.ReadAll(conn)
	if err != nil {
		return err
	}
	if string(heard) != "question" {
		return fmt.Errorf("%q came", heard)
	}
	_, err = io.WriteString(conn, "answer")
	return err
}

// abort gives up after a word that has arrived.
func abort(conn io.ReadWriter) error {
	if err := hold(conn); err != nil {
		return err
	}
	return errAbort
}

// hold writes a word, and goes on when the other end reports that it has arrived.
func hold(conn io.ReadWriter) error {
	if _, err := io.WriteString(conn, "a word"); err != nil {
		return err
	}
	_, err := io.ReadFull(conn, make([]byte, 1))
	return err
}

// expectReset reads a word, confirms it, and then accepts only an error.
func expectReset(conn io.ReadWriter) error {
	if _, err := io.ReadFull(conn, make([]byte, len("a word"))); err != nil {
		return err
	}
	if _, err := conn.Write([]byte{1}); err != nil {
		return err
	}
	n, err := conn.Read(make([]byte, 1))
	if err == nil || err == io.EOF {
		return fmt.Errorf("reading gave %d bytes and %v where a reset was due", n, err)
	}
	fmt.Println("reset:", err)
	return errOver
}
