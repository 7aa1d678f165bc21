// SPDX-License-Identifier: GPL-2.0-or-later
#include "token_stream.h"

#include <algorithm>
#include <new>
#include <string>

#include "hint.h"
#include "scanner.h"

namespace ctsync::config {
namespace {

using Token = Grammar::token;

struct KeywordToken {
  std::string_view word;
  int token;
};

// The keywords are the last tokens that the grammar declares, each with its own text as its name. Reading them back
// keeps the grammar the only list.
std::vector<KeywordToken> make_keyword_tokens() {
  std::vector<KeywordToken> tokens;
  for (int token = Token::GENERAL; token < Grammar::YYNTOKENS; ++token) {
    tokens.push_back({Grammar::symbol_name(static_cast<Grammar::symbol_kind_type>(token)), token});
  }
  std::ranges::sort(tokens, {}, &KeywordToken::word);
  return tokens;
}

const std::vector<KeywordToken>& keyword_tokens() {
  static const std::vector<KeywordToken> tokens = make_keyword_tokens();
  return tokens;
}

bool opens_top_block(int kind) {
  return kind == Token::GENERAL || kind == Token::SYNC || kind == Token::STATS || kind == Token::HELPER;
}

// END if it is the name of none.
int top_block_in_any_case(std::string_view word) {
  for (const std::string_view name : {"General", "Sync", "Stats", "Helper"}) {
    if (equals_ignoring_case(word, name)) return word_token(name);
  }
  return Token::END;
}

}  // namespace

int word_token(std::string_view word) {
  const auto& tokens = keyword_tokens();
  const auto found = std::ranges::lower_bound(tokens, word, {}, &KeywordToken::word);
  return found != tokens.end() && found->word == word ? found->token : static_cast<int>(Token::IDENTIFIER);
}

std::vector<std::string_view> grammar_keywords() {
  std::vector<std::string_view> words;
  for (const KeywordToken& keyword : keyword_tokens()) words.push_back(keyword.word);
  return words;
}

TokenStream::TokenStream(std::string_view text) : text_(text) {
  if (ctsync_config_lex_init_extra(this, &scanner_) != 0) throw std::bad_alloc();
  ctsync_config__scan_bytes(text.data(), static_cast<int>(text.size()), scanner_);
}

TokenStream::~TokenStream() { ctsync_config_lex_destroy(scanner_); }

void TokenStream::advance(std::string_view matched) {
  start_ = end_;
  for (const char c : matched) {
    if (c == '\n') {
      ++end_.line;
      end_.column = 1;
    } else {
      ++end_.column;
    }
  }
  end_.offset += matched.size();
}

TokenStream::Entry TokenStream::scan() {
  if (!pending_.empty()) {
    const Entry entry = pending_.front();
    pending_.pop_front();
    return entry;
  }
  const int kind = ctsync_config_lex(scanner_);
  if (kind == Token::END) return {kind, {}, end_};
  return {kind, text_.substr(start_.offset, end_.offset - start_.offset), start_};
}

Grammar::symbol_type TokenStream::next() {
  previous_ = current_;
  current_ = scan();
  if (current_.kind == Token::OPEN) ++depth_;
  if (current_.kind == Token::CLOSE) --depth_;
  return {current_.kind, current_.word, current_.where};
}

// Each word is offered as the start of a statement at most once; this is what makes recovery end.
bool TokenStream::retry() {
  if (!is_new_trouble()) return false;
  retried_ = current_.where.offset;
  has_retried_ = true;
  return true;
}

void TokenStream::skip_statement() {
  if (current_.kind == Token::CLOSE) return;
  if (current_.kind == Token::OPEN) --depth_;
  int open = 0;
  for (Entry entry = current_;; entry = scan()) {
    if (entry.kind == Token::OPEN) {
      ++open;
    } else if (entry.kind == Token::CLOSE && open > 0) {
      if (--open == 0) return;
    } else if (entry.kind == Token::END || entry.kind == Token::CLOSE ||
               (open == 0 && entry.where.line != current_.where.line)) {
      pending_.push_front(entry);
      return;
    }
  }
}

// Words on a line, then braces with what is in them.
bool TokenStream::skip_block() {
  Entry entry = current_;
  while (entry.kind != Token::OPEN && entry.kind != Token::CLOSE && entry.kind != Token::END) {
    entry = scan();
    const bool is_far = entry.where.line != current_.where.line && entry.kind != Token::OPEN;
    if (!is_far && !opens_top_block(entry.kind)) continue;
    pending_.push_front(entry);
    return false;
  }
  if (entry.kind != Token::OPEN) {
    pending_.push_front(entry);
    return false;
  }
  for (int open = 1; open > 0;) {
    entry = scan();
    if (entry.kind == Token::END || opens_top_block(entry.kind)) {
      pending_.push_front(entry);
      return true;
    }
    if (entry.kind == Token::OPEN) ++open;
    if (entry.kind == Token::CLOSE) --open;
  }
  return true;
}

std::string_view TokenStream::number_before() const {
  const bool touches = previous_.where.offset + previous_.word.size() == current_.where.offset;
  return previous_.kind == Token::NUMBER && touches ? previous_.word : std::string_view();
}

TokenStream::Recovery TokenStream::recover() {
  if (at_end()) return Recovery::give_up;
  if (opens_top_block(current_.kind) && retry()) {
    // A closing brace is missing before it: supply what is needed to get out of all blocks.
    pending_.push_front(current_);
    for (int i = 0; i < depth_; ++i) pending_.push_front({Token::CLOSE, {}, current_.where});
    return Recovery::drop;
  }
  const bool on_new_line = current_.where.line != previous_.where.line;
  if ((current_.kind == Token::CLOSE || on_new_line) && retry()) return Recovery::keep;
  skip_statement();
  return Recovery::drop;
}

TokenStream::Recovery TokenStream::recover_top() {
  depth_ = 0;
  if (at_end()) return Recovery::give_up;
  if (opens_top_block(current_.kind) && retry()) return Recovery::keep;
  if (const int meant = top_block_in_any_case(current_.word); meant != Token::END && retry()) {
    pending_.push_front({meant, current_.word, current_.where});
    return Recovery::drop;
  }
  if (current_.kind != Token::OPEN && current_.kind != Token::CLOSE && skip_block()) return Recovery::drop;
  Entry entry = scan();
  while (entry.kind != Token::END && !opens_top_block(entry.kind)) entry = scan();
  pending_.push_front(entry);
  return Recovery::drop;
}

}  // namespace ctsync::config
