// Call: one request of a session until it has its one reply. Movable, on the thread that works for it.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "protocol/codec.h"
#include "protocol/frame.h"
#include "server/service/session.h"

namespace baton::server {

class Call {
 public:
  Call(std::shared_ptr<Session> session, const protocol::FrameHeader& request,
       std::shared_ptr<Connection> connection = nullptr)
      : session_(std::move(session)), request_(request), connection_(std::move(connection)) {}
  Call(Call&&) = default;
  Call& operator=(Call&&) = delete;
  // A call that nobody answered is our own bug, but its caller must not hang for it. What a server that stops leaves behind
  // the next one answers.
  ~Call() {
    if (session_ && !session_->stopped()) Fail(EIO);
  }

  const std::shared_ptr<Session>& session() const { return session_; }
  const protocol::FrameHeader& request() const { return request_; }
  // The session has had no other connection since this came.
  bool IsOfPresentConnection() const { return session_->connection() == connection_; }

  // Runs before the reply goes out, whatever that is: who changed something hears of it after those who must know (rule C2).
  void BeforeReply(std::function<void()> then) { before_reply_ = std::move(then); }

  // What the server's next life must know, before the effect (intent.h).
  template <class Intent>
  void Note(const Intent& intent) {
    std::vector<std::byte> bytes;
    protocol::Encoder(bytes).Put(intent);
    session_->Note(request_, bytes);
  }

  // Each of these is the reply.
  template <class Reply>
  void Answer(const Reply& reply, Epoch epoch = {}, std::span<const std::byte> data = {}) {
    std::vector<std::byte> body;
    protocol::Encoder(body).Put(reply);
    Complete(0, epoch, body, data);
  }
  void AnswerDone(Epoch epoch = {}, std::span<const std::byte> data = {}) {
    Complete(0, epoch, {}, data);
  }
  void Fail(int error) { Complete(error, {}, {}, {}); }
  // No reply: it has no slot, and its connection is gone.
  void Drop() { session_.reset(); }

 private:
  void Complete(int error, Epoch epoch, std::span<const std::byte> body, std::span<const std::byte> data) {
    if (const auto then = std::exchange(before_reply_, nullptr)) then();
    std::exchange(session_, nullptr)->Complete(request_, error, epoch, body, data);
  }

  std::shared_ptr<Session> session_;
  protocol::FrameHeader request_;
  std::shared_ptr<Connection> connection_;
  std::function<void()> before_reply_;
};

}  // namespace baton::server
