// Servers of WebSockets, by two libraries. Each echoes messages as they come, unless the path asks for something else:
//
//	/echo    nothing
//	/close   closes with the status of the query, behind the first message
//	/pinged  sends a ping behind each message, and sends the message back when the pong is there
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/coder/websocket"
	gorilla "github.com/gorilla/websocket"
)

// The longest message.
const most = 128 << 20

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: h2conn-websockets coder|gorilla")
	}
	handler, ok := map[string]http.HandlerFunc{"coder": byCoder, "gorilla": byGorilla}[os.Args[1]]
	if !ok {
		log.Fatalf("no library %q: expected coder or gorilla", os.Args[1])
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("listening on http://%s\n", listener.Addr())
	go func() {
		// The test that has started this ends it so, even if the test is killed.
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	log.Fatal(http.Serve(listener, handler))
}

func status(r *http.Request) int {
	status, err := strconv.Atoi(r.URL.Query().Get("status"))
	if err != nil {
		return 1000
	}
	return status
}

func byCoder(w http.ResponseWriter, r *http.Request) {
	c, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"chat"}})
	if err != nil {
		return
	}
	defer c.CloseNow()
	c.SetReadLimit(most)
	for {
		kind, message, err := c.Read(r.Context())
		if err != nil {
			return
		}
		switch r.URL.Path {
		case "/close":
			c.Close(websocket.StatusCode(status(r)), "the test says so")
			return
		case "/pinged":
			// Pongs are seen by a reader only.
			ctx, cancel := context.WithTimeout(r.Context(), time.Minute)
			reading := c.CloseRead(ctx)
			defer cancel()
			if c.Ping(reading) != nil {
				return
			}
			c.Write(r.Context(), kind, message)
			c.Close(websocket.StatusNormalClosure, "")
			return
		}
		if c.Write(r.Context(), kind, message) != nil {
			return
		}
	}
}

func byGorilla(w http.ResponseWriter, r *http.Request) {
	upgrader := gorilla.Upgrader{Subprotocols: []string{"chat"}}
	c, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	defer c.Close()
	c.SetReadLimit(most)
	var kind int
	var message []byte
	c.SetPongHandler(func(string) error {
		if err := c.WriteMessage(kind, message); err != nil {
			return err
		}
		return c.WriteMessage(gorilla.CloseMessage, gorilla.FormatCloseMessage(1000, ""))
	})
	for {
		kind, message, err = c.ReadMessage()
		if err != nil {
			return
		}
		switch r.URL.Path {
		case "/close":
			c.WriteMessage(gorilla.CloseMessage, gorilla.FormatCloseMessage(status(r), "the test says so"))
			io.Copy(io.Discard, c.NetConn())
			return
		case "/pinged":
			c.WriteMessage(gorilla.PingMessage, []byte("are you there?"))
			continue
		}
		if c.WriteMessage(kind, message) != nil {
			return
		}
	}
}
