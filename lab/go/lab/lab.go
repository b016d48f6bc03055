// Package lab tells a program of the lab where its other end is, how much
// traffic to make, and when to stop.
package lab

import (
	"bufio"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"
)

// Request is what every end of the lab understands.
const Request = "GET / HTTP/1.1\r\nHost: lab\r\n\r\n"

func init() {
	time.AfterFunc(time.Duration(number("LAB_SECONDS", 60))*time.Second, func() { os.Exit(0) })
}

// Addr is the other end.
func Addr() string { return fmt.Sprintf("%s:%d", os.Getenv("LAB_HOST"), Port()) }

// URL is the other end's address for an HTTP client.
func URL() string { return "http://" + Addr() + "/" }

// Port is the one that this scenario's servers listen on.
func Port() int { return number("LAB_PORT", 18000) }

// Rate is how often a second a program opens or asks.
func Rate() int { return number("LAB_RATE", 3) }

// Pace ticks at the rate.
func Pace() <-chan time.Time { return time.Tick(time.Second / time.Duration(Rate())) }

// Stay waits for the program's end.
func Stay() { select {} }

// Ask makes one exchange.
func Ask(conn net.Conn) error {
	if _, err := io.WriteString(conn, Request); err != nil {
		return err
	}
	return Drain(bufio.NewReader(conn))
}

// Drain reads one answer to its end.
func Drain(from *bufio.Reader) error {
	answer, err := http.ReadResponse(from, nil)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, answer.Body)
	return err
}

// Must ends the program where its own set-up fails: then it shows nothing.
func Must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func number(name string, otherwise int) int {
	if value, err := strconv.Atoi(os.Getenv(name)); err == nil && value > 0 {
		return value
	}
	return otherwise
}
