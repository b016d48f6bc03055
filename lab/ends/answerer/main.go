// Answerer is the server that clients of the lab talk to. It understands a
// request without a body; the flags say how it treats those who ask.
package main

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"net"
	"strings"
	"time"

	"lab/go/lab"
)

var (
	offset = flag.Int("offset", 0, "listen on the scenario's port and so many more")
	body   = flag.Int("body", 64, "bytes of an answer")
	delay  = flag.Duration("delay", 0, "time until an answer")
	slow   = flag.Duration("slow", 0, "spread an answer over so long")
	closes = flag.Bool("close", false, "hang up after an answer")
	reset  = flag.Bool("reset", false, "reset the connection 100 ms after an answer")
	idle   = flag.Duration("idle", 0, "hang up on who asks nothing for so long")
	lag    = flag.Duration("lag", 0, "be so slow about it that requests cross it")
	silent = flag.Int("silent", 0, "never answer every so-many-th request of a connection")
	deaf   = flag.Bool("deaf", false, "never read")
	hold   = flag.Bool("hold", false, "never close, though the client has")
	beat   = flag.Duration("beat", 0, "after an answer, send a line as often")
)

func main() {
	flag.Parse()
	listener, err := net.Listen("tcp", fmt.Sprintf(":%d", lab.Port()+*offset))
	lab.Must(err)
	for {
		conn, err := listener.Accept()
		lab.Must(err)
		go serve(conn.(*net.TCPConn))
	}
}

func serve(conn *net.TCPConn) {
	// Also what is held for ever is named to the end: the collector closes what nobody names.
	defer conn.Close()
	if *deaf {
		lab.Stay()
	}
	talk(conn)
	if *hold {
		lab.Stay()
	}
}

// talk answers until one side has had enough.
func talk(conn *net.TCPConn) {
	reader := bufio.NewReader(conn)
	for asked := 1; ; asked++ {
		if *idle > 0 {
			conn.SetReadDeadline(time.Now().Add(*idle))
		}
		if !request(reader) {
			time.Sleep(*lag)
			return
		}
		if *silent > 0 && asked%*silent == 0 {
			lab.Stay()
		}
		time.Sleep(*delay)
		if !answer(conn) {
			return
		}
		switch {
		case *closes:
			return
		case *reset:
			time.Sleep(100 * time.Millisecond)
			conn.SetLinger(0)
			return
		case *beat > 0:
			go stream(conn)
		}
	}
}

func request(reader *bufio.Reader) bool {
	for {
		line, err := reader.ReadString('\n')
		if err != nil {
			return false
		}
		if strings.TrimSpace(line) == "" {
			return true
		}
	}
}

func answer(conn net.Conn) bool {
	head := "HTTP/1.1 200 OK\r\n"
	if *closes {
		head += "Connection: close\r\n"
	}
	head += fmt.Sprintf("Content-Length: %d\r\n\r\n", *body)
	if _, err := conn.Write([]byte(head)); err != nil {
		return false
	}
	parts := 1
	if *slow > 0 {
		parts = 50
	}
	for part := 0; part < parts; part++ {
		size := *body*(part+1)/parts - *body*part/parts
		if _, err := conn.Write(bytes.Repeat([]byte("x"), size)); err != nil {
			return false
		}
		time.Sleep(*slow / time.Duration(parts))
	}
	return true
}

func stream(conn net.Conn) {
	for range time.Tick(*beat) {
		if _, err := conn.Write([]byte("still here\n")); err != nil {
			return
		}
	}
}
