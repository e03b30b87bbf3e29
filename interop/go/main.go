// Command peer is the other end of the tests in tests/it/go.rs: unmodified net/http, as a client
// and as a server, in one scenario of one connection. It prints ok, or prints an error and exits
// with 1. It is also a client of examples/chat, and the tests of crates/engine use its HPACK.
package main

import (
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

// No scenario takes this long, unless it hangs.
const watchdog = 25 * time.Second

func main() {
	secure := flag.Bool("tls", false, "serve TLS, with a certificate that is printed")
	roots := flag.String("roots", "", "the certificates that a client trusts, in PEM")
	status := flag.Int("status", http.StatusOK, "the status to answer with, or to expect")
	limit := flag.Int("limit", 0, "how many streams a crowd may have on a TCP connection")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: peer [flags] server SCENARIO\n"+
			"       peer [flags] client SCENARIO URL   (stays until its input ends)\n"+
			"       peer [flags] crowd                 (echoes until its input ends)\n"+
			"       peer [flags] chat URL NAME         (posts each line of its input)\n"+
			"       peer [flags] requests VERSION      (sends the requests of its input, see requests.go)\n"+
			"       peer [flags] hpack                 (encodes and decodes, see hpack.go)")
		flag.PrintDefaults()
	}
	flag.Parse()
	dog := time.AfterFunc(watchdog, func() {
		fmt.Fprintln(os.Stderr, "not done within", watchdog)
		os.Exit(1)
	})
	play, known := scenarios[flag.Arg(1)]
	var err error
	switch {
	case known && flag.Arg(0) == "server" && flag.NArg() == 2:
		err = serve(play, *secure, *status)
	case known && flag.Arg(0) == "client" && flag.NArg() == 3:
		err = connect(play, flag.Arg(2), *roots, *status)
	case flag.Arg(0) == "crowd" && flag.NArg() == 1:
		err = crowd(*limit)
	case flag.Arg(0) == "chat" && flag.NArg() == 3:
		// The end of its input ends it.
		dog.Stop()
		err = chat(flag.Arg(1), flag.Arg(2), *roots)
	case flag.Arg(0) == "requests" && flag.NArg() == 2:
		// The end of its input ends it.
		dog.Stop()
		err = requests(flag.Arg(1), *roots)
	case flag.Arg(0) == "hpack" && flag.NArg() == 1:
		// The end of its input ends it.
		dog.Stop()
		err = hpackPeer(os.Stdin, os.Stdout)
	default:
		flag.Usage()
		os.Exit(2)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("ok")
	if flag.Arg(0) == "client" {
		// If a process exits, bytes that the system has not sent yet can be lost.
		io.Copy(io.Discard, os.Stdin)
	}
}

func connect(play scenario, url, roots string, status int) error {
	client := cleartextClient()
	if strings.HasPrefix(url, "https:") {
		var err error
		if client, err = tlsClient(roots); err != nil {
			return err
		}
	}
	conn, response, err := Dial(context.Background(), client, url, nil)
	if err != nil {
		return err
	}
	if response.StatusCode != status {
		return fmt.Errorf("the status is %s", response.Status)
	}
	if status >= 300 {
		why, err := io.ReadAll(conn)
		fmt.Printf("refused: %s", why)
		if err != nil {
			return err
		}
		return conn.Close()
	}
	switch err := play(conn); err {
	case nil:
	case errAbort:
		return conn.Abort()
	case errOver:
		return nil
	default:
		return err
	}
	if err := conn.Close(); err != nil {
		return err
	}
	return readEnd(conn)
}

// readEnd accepts only the end.
func readEnd(conn io.Reader) error {
	if n, err := conn.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		return fmt.Errorf("reading gave %d bytes and %v where the end was due", n, err)
	}
	return nil
}

// serve returns when its one connection has been played and the TCP connection below it is closed.
func serve(play scenario, secure bool, status int) error {
	played := make(chan error, 1)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if status >= 300 {
			http.Error(w, "no room", status)
			played <- nil
			return
		}
		conn, err := Accept(w, r, status)
		if err == nil {
			err = play(conn)
		}
		switch err {
		case errAbort:
			played <- nil
			panic(http.ErrAbortHandler)
		case errOver:
			err = nil
		}
		played <- err
	})
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	closed := make(chan struct{})
	listener := net.Listener(&watched{tcp, closed})
	failed := make(chan error, 1)
	scheme := "http"
	if secure {
		scheme = "https"
		certificate, text, err := selfSigned()
		if err != nil {
			return err
		}
		fmt.Print(text)
		server := &http.Server{Handler: handler, TLSConfig: &tls.Config{
			Certificates: []tls.Certificate{certificate},
		}}
		go func() { failed <- server.ServeTLS(listener, "", "") }()
	} else {
		server := cleartextServer(handler)
		go func() { failed <- server.Serve(listener) }()
	}
	fmt.Printf("listening on %s://%s/\n", scheme, tcp.Addr())
	select {
	case err := <-failed:
		return err
	case <-closed:
	}
	return <-played
}

// watched reports when a connection that it has accepted is closed.
type watched struct {
	net.Listener
	closed chan struct{}
}

func (l *watched) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &watchedConn{Conn: conn, closed: l.closed}, nil
}

type watchedConn struct {
	net.Conn
	once   sync.Once
	closed chan struct{}
}

func (c *watchedConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() { close(c.closed) })
	return err
}
