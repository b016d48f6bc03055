// Caller is the client that servers of the lab are asked by. Without flags it
// opens, asks once and closes, at the scenario's rate.
package main

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"math/rand"
	"net"
	"os"
	"time"

	"lab/go/lab"
)

var (
	host   = flag.String("host", os.Getenv("LAB_HOST"), "who to call")
	offset = flag.Int("offset", 0, "call the scenario's port and so many more")
	keep   = flag.Int("keep", 0, "keep so many connections instead, and ask again on each")
	every  = flag.Duration("every", time.Second, "how often to ask on each of those")
	spread = flag.Duration("spread", 0, "and up to so much later")
	chorus = flag.Bool("chorus", false, "all of those at the same time, by the clock")
	abort  = flag.Bool("abort", false, "reset instead of closing")
	wait   = flag.Duration("wait", 0, "time between the answer and the close")
	mute   = flag.Bool("mute", false, "ask nothing: connect, wait, close")
	listen = flag.Bool("listen", false, "ask once, and read for as long as there is something")
	times  = flag.Int("times", 1, "times the scenario's rate")
	limit  = flag.Duration("limit", 5*time.Second, "time to connect")
)

func main() {
	flag.Parse()
	if *keep > 0 {
		for index := 0; index < *keep; index++ {
			go regular()
			time.Sleep(20 * time.Millisecond)
		}
		lab.Stay()
	}
	for range time.Tick(time.Second / time.Duration(lab.Rate()**times)) {
		go once()
	}
}

func dial() (net.Conn, error) {
	address := fmt.Sprintf("%s:%d", *host, lab.Port()+*offset)
	return net.DialTimeout("tcp", address, *limit)
}

func once() {
	conn, err := dial()
	if err != nil {
		return
	}
	defer conn.Close()
	if !*mute && lab.Ask(conn) != nil {
		return
	}
	time.Sleep(*wait)
	if *abort {
		conn.(*net.TCPConn).SetLinger(0)
	}
}

// regular keeps one connection busy, and calls again where it breaks.
func regular() {
	for {
		if conn, err := dial(); err == nil {
			ask(conn)
			conn.Close()
		}
		time.Sleep(time.Second)
	}
}

func ask(conn net.Conn) {
	reader := bufio.NewReader(conn)
	for {
		if *mute {
			lab.Stay()
		}
		if _, err := io.WriteString(conn, lab.Request); err != nil {
			return
		}
		if *listen {
			io.Copy(io.Discard, reader)
			return
		}
		if lab.Drain(reader) != nil {
			return
		}
		pause := *every
		if *chorus {
			pause -= time.Duration(time.Now().UnixNano()) % *every
		}
		if *spread > 0 {
			pause += time.Duration(rand.Int63n(int64(*spread)))
		}
		time.Sleep(pause)
	}
}
